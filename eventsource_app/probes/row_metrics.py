"""The metrics that are read from the database's rows: the same on every process, with or without a worker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from prometheus_client import Metric

from eventsource_app.observability.metrics import Family, Kind
from eventsource_app.subscriptions.health import HealthFacts, PartitionFacts

BREAKERS: Final = ("closed", "half_open", "open")
STATES: Final = ("running", "paused", "stopped", "rebuilding")
LETTER_STATES: Final = ("parked", "retrying", "dead")

Rows = tuple[PartitionFacts, ...]
Value = Callable[[HealthFacts, Rows], float]


@dataclass(frozen=True, slots=True)
class RowFamily:
    """A family, and how its samples come from the rows: one per subscription, or per subscription and state."""

    family: Family
    values: dict[str | None, Value]


def _by_subscription(name: str, kind: Kind, text: str, value: Value) -> RowFamily:
    return RowFamily(Family(f"eventsource_{name}", kind, text, ("subscription",)), {None: value})


def _by_state(name: str, text: str, values: dict[str | None, Value]) -> RowFamily:
    return RowFamily(Family(f"eventsource_{name}", "gauge", text, ("subscription", "state")), values)


def _sum_of(field: str) -> Value:
    return lambda facts, rows: float(sum(getattr(row, field) for row in rows))


def _worst(field: str) -> Value:
    return lambda facts, rows: float(max(getattr(row, field) for row in rows))


def _rows_with(field: str, wanted: str) -> Value:
    return lambda facts, rows: float(sum(getattr(row, field) == wanted for row in rows))


DATABASE_UP: Final = Family(
    "eventsource_database_up", "gauge", "1 when the database answered this scrape, else 0."
)
LOG: Final[tuple[tuple[Family, Callable[[HealthFacts], float]], ...]] = (
    (
        Family("eventsource_head_position", "gauge", "The last position of the log that was handed out."),
        lambda facts: facts.head,
    ),
    (
        Family("eventsource_live_workers", "gauge", "Worker processes whose heart beats."),
        lambda facts: facts.live_workers,
    ),
    (
        Family(
            "eventsource_fence_age_seconds",
            "gauge",
            "Age of the oldest transaction that has appended and is not over: nobody reads past it.",
        ),
        lambda facts: facts.fence_age_seconds,
    ),
)
SUBSCRIPTIONS: Final = (
    _by_subscription(
        "events_processed", "counter", "Events handled, by all workers ever.", _sum_of("events_processed")
    ),
    _by_subscription("events_failed", "counter", "Failed attempts at an event.", _sum_of("events_failed")),
    _by_subscription("retries", "counter", "Retries of dead letters.", _sum_of("retry_count")),
    _by_subscription("batches", "counter", "Commits of a checkpoint.", _sum_of("batch_count")),
    _by_subscription(
        "lease_changes", "counter", "Times that a partition's lease was taken.", _sum_of("epoch")
    ),
    _by_subscription(
        "lag_events",
        "gauge",
        "Positions between the checkpoint and the log's head, of the partition furthest behind.",
        lambda facts, rows: max(row.lag_events(facts.head) for row in rows),
    ),
    _by_subscription(
        "lag_seconds", "gauge", "Age of the oldest event that was not delivered.", _worst("lag_seconds")
    ),
    _by_subscription(
        "frozen_seconds",
        "gauge",
        "How long events have waited while a running subscription's checkpoint stood still.",
        _worst("frozen_seconds"),
    ),
    _by_subscription(
        "partitions", "gauge", "Partitions of the subscription.", lambda facts, rows: rows[0].partition_count
    ),
    _by_subscription(
        "partitions_without_owner",
        "gauge",
        "Partitions that no live worker owns.",
        lambda facts, rows: sum(not row.owner_is_live for row in rows),
    ),
    _by_state("dead_letters", "Open dead letters.", {state: _sum_of(state) for state in LETTER_STATES}),
    _by_state(
        "breaker_partitions",
        "Partitions whose circuit breaker is in this state.",
        {state: _rows_with("breaker", state) for state in BREAKERS},
    ),
    _by_state(
        "state_partitions",
        "Partitions in this state.",
        {state: _rows_with("state", state) for state in STATES},
    ),
)
ROW_FAMILIES: Final = (DATABASE_UP, *(family for family, _ in LOG), *(row.family for row in SUBSCRIPTIONS))


def row_metrics(facts: HealthFacts | None) -> Iterator[Metric]:
    """Yield every family of ``ROW_FAMILIES``; without facts the database is down, and nothing else is known."""
    yield _metric(DATABASE_UP, [({}, 0.0 if facts is None else 1.0)])
    for family, value in LOG:
        yield _metric(family, [] if facts is None else [({}, value(facts))])
    partitions = facts.partitions if facts else ()
    subscriptions = [
        (name, tuple(rows)) for name, rows in groupby(partitions, key=lambda row: row.subscription)
    ]
    for each in SUBSCRIPTIONS:
        samples = [
            ({"subscription": name} | ({} if state is None else {"state": state}), value(facts, rows))
            for name, rows in subscriptions
            for state, value in each.values.items()
            if facts is not None
        ]
        yield _metric(each.family, samples)


def _metric(family: Family, samples: list[tuple[dict[str, str], float]]) -> Metric:
    metric = family.metric()
    for labels, value in samples:
        metric.add_sample(family.sample_names[0], labels, value)
    return metric
