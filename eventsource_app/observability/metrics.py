"""What processes count and time about themselves, and the catalogue of all metrics that ``/metrics`` shows.

A label is never an id: routes are templates, subscriptions and states are few, so the number of series is bounded by
the code. Under gunicorn the values live in files that its workers share (``settings/metric_files.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name without the suffix that its kind adds, what it says, and what it is told apart by."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names under which Prometheus stores it."""
        suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
        return tuple(self.name + suffix for suffix in suffixes[self.kind])

    def metric(self) -> Metric:
        """Return it without any sample."""
        return Metric(self.name, self.help, self.kind, "seconds" if self.name.endswith("_seconds") else "")


PROCESS_FAMILIES: Final = (
    Family("http_requests", "counter", "Requests answered.", ("method", "route", "status")),
    Family(
        "http_request_duration_seconds",
        "histogram",
        "Time from a request's first middleware to its answer.",
        ("method", "route"),
    ),
    Family(
        "eventsource_idempotency_replays", "counter", "Repeated requests that got their first answer again."
    ),
    Family("eventsource_appends", "counter", "Appends that stored events."),
    Family("eventsource_appended_events", "counter", "Events stored."),
    Family("eventsource_append_conflicts", "counter", "Appends refused because another one was faster."),
    Family(
        "eventsource_append_duration_seconds", "histogram", "Time that an append took which stored events."
    ),
    Family("eventsource_pool_max", "gauge", "Connections that the pools may open.", ("database",)),
    Family("eventsource_pool_size", "gauge", "Connections that the pools have open.", ("database",)),
    Family("eventsource_pool_available", "gauge", "Open connections that nobody uses.", ("database",)),
    Family("eventsource_pool_waiting", "gauge", "Threads that wait for a connection.", ("database",)),
    Family(
        "eventsource_pool_waits",
        "counter",
        "Times that a thread had to wait for a connection.",
        ("database",),
    ),
    Family(
        "eventsource_pool_timeouts",
        "counter",
        "Times that waiting for a connection was in vain.",
        ("database",),
    ),
    Family(
        "eventsource_batch_duration_seconds",
        "histogram",
        "Time of one attempt at a batch, from the checkpoint's lock to the commit.",
        ("subscription",),
    ),
    Family(
        "eventsource_handler_duration_seconds",
        "histogram",
        "Time that handlers took for the events of one attempt.",
        ("subscription",),
    ),
)
BY_NAME: Final = {family.name: family for family in PROCESS_FAMILIES}

REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
APPEND_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0)
BATCH_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0)

# A registry of our own: what a project registers elsewhere stays its own.
registry: Final = CollectorRegistry()


def _counter(name: str) -> Counter:
    family = BY_NAME[name]
    return Counter(name, family.help, family.labels, registry=registry)


def _gauge(name: str) -> Gauge:
    """Return a gauge that is summed over the processes that live."""
    family = BY_NAME[name]
    return Gauge(name, family.help, family.labels, registry=registry, multiprocess_mode="livesum")


def _histogram(name: str, buckets: tuple[float, ...]) -> Histogram:
    family = BY_NAME[name]
    return Histogram(name, family.help, family.labels, registry=registry, buckets=buckets)


http_requests = _counter("http_requests")
http_request_seconds = _histogram("http_request_duration_seconds", REQUEST_BUCKETS)
idempotency_replays = _counter("eventsource_idempotency_replays")
appends = _counter("eventsource_appends")
appended_events = _counter("eventsource_appended_events")
append_conflicts = _counter("eventsource_append_conflicts")
append_seconds = _histogram("eventsource_append_duration_seconds", APPEND_BUCKETS)
pool_max = _gauge("eventsource_pool_max")
pool_size = _gauge("eventsource_pool_size")
pool_available = _gauge("eventsource_pool_available")
pool_waiting = _gauge("eventsource_pool_waiting")
pool_waits = _counter("eventsource_pool_waits")
pool_timeouts = _counter("eventsource_pool_timeouts")
batch_seconds = _histogram("eventsource_batch_duration_seconds", BATCH_BUCKETS)
handler_seconds = _histogram("eventsource_handler_duration_seconds", BATCH_BUCKETS)


def collect_process_metrics() -> Iterator[Metric]:
    """Yield every family of ``PROCESS_FAMILIES``: of this process, or of all gunicorn workers that share their files."""
    shared = getattr(values.ValueClass, "_multiprocess", False)
    source: Collector = MultiProcessCollector(None) if shared else registry  # type: ignore[no-untyped-call]
    by_name = {metric.name: metric for metric in source.collect()}
    for family in PROCESS_FAMILIES:
        metric = family.metric()
        samples = by_name[family.name].samples if family.name in by_name else []
        # When a series began is not kept in shared files, so it is told nowhere.
        metric.samples = [sample for sample in samples if not sample.name.endswith("_created")]
        yield metric
