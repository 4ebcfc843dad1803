"""Waiting: what subscriptions cost when nothing happens, and how soon one hears when something does."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from threading import Event, Thread
from typing import Any

import psycopg

from eventsource_app.events.identifiers import uuid7
from eventsource_app.store import EventStore, ExpectedVersion, StreamId
from eventsource_app.store.notifications import connect
from eventsource_app.subscriptions import Projection, SubscriptionConfig, SubscriptionManager, handles
from tests.benchmarks.processes import in_child
from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Sides, of_ours_at_most, workload
from tests.builders import ACCOUNT, MoneyPaidIn, registry

SUBSCRIPTIONS = 20
POLL_SECONDS = 0.5
QUIET_SAMPLES = 3  # one second is too short to see what happens twice a second
PER_SECOND = 50
SETTLE_SECONDS = 2.0
COMMITS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"


Measure = Callable[[Bench, str], float]


class Ignoring(Projection):
    @handles(MoneyPaidIn)
    def ignore(self, event: MoneyPaidIn) -> None:
        pass


class Noting(Projection):
    """Notes when each event arrives."""

    def __init__(self) -> None:
        self.heard: dict[Any, float] = {}

    @handles(MoneyPaidIn)
    def note(self, event: MoneyPaidIn) -> None:
        self.heard[event.event_id] = time.perf_counter()


def idle(bench: Bench, measure: Measure, using: str) -> float:
    """Run twenty subscriptions on an empty log and measure once they have settled."""
    manager = SubscriptionManager(EventStore(using, registry=registry))
    for number in range(SUBSCRIPTIONS):
        manager.subscribe(Ignoring(), SubscriptionConfig(), f"idle-{number}")
    manager.start()
    try:
        time.sleep(SETTLE_SECONDS)
        return measure(bench, using)
    finally:
        manager.stop()


def idle_plainly(bench: Bench, measure: Measure, using: str) -> float:
    """Let twenty threads with a plain connection each ask for the log's head at the pace of an idle worker."""
    over = Event()
    threads = [Thread(target=_poll, args=(using, over)) for _ in range(SUBSCRIPTIONS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(SETTLE_SECONDS)
        return measure(bench, using)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _poll(using: str, over: Event) -> None:
    with connect(using) as driver:
        while not over.wait(POLL_SECONDS):
            driver.execute("SELECT last_value FROM eventsource_app_event_position_seq")


def percent_of_a_core(bench: Bench, using: str) -> float:
    before, seconds = time.process_time(), QUIET_SAMPLES * bench.seconds
    time.sleep(seconds)
    return 100 * (time.process_time() - before) / seconds


def statements_per_second(bench: Bench, using: str) -> float:
    """Count what the server committed: outside a transaction that is one for each statement."""
    with bench.connect(using) as driver:
        before, began = _commits(driver), time.perf_counter()
        time.sleep(QUIET_SAMPLES * bench.seconds)
        return (_commits(driver) - before) / (time.perf_counter() - began) / SUBSCRIPTIONS


def _commits(driver: psycopg.Connection[Any]) -> int:
    time.sleep(1.1)  # a server process tells its counts once a second
    row = driver.execute(COMMITS).fetchone()
    assert row is not None
    return int(row[0])


def latency(bench: Bench, using: str) -> float:
    """Append fifty events a second, and return the median of the milliseconds until the handler has each."""
    noting = Noting()
    store = EventStore(using, registry=registry)
    manager = SubscriptionManager(store)
    manager.subscribe(noting, SubscriptionConfig(start_from="end"), f"latency-{uuid7()}")
    manager.start()
    try:
        time.sleep(SETTLE_SECONDS)
        saved = dict(_appended(store, round(PER_SECOND * 2 * bench.seconds)))
        time.sleep(1.0)
    finally:
        manager.stop()
    waits: list[float] = [noting.heard[event_id] - at for event_id, at in saved.items()]
    return 1000 * statistics.median(waits)


def _appended(store: EventStore, count: int) -> Iterator[tuple[Any, float]]:
    for _ in range(count):
        stream = StreamId(ACCOUNT, uuid7())
        event = MoneyPaidIn(aggregate_id=stream.aggregate_id, aggregate_version=1, amount="12.50")
        store.append(stream, [event], ExpectedVersion.NO_STREAM)
        yield event.event_id, time.perf_counter()
        time.sleep(1 / PER_SECOND)


def latency_plainly(bench: Bench, using: str) -> float:
    """NOTIFY fifty times a second, and return the median of the milliseconds until a listener has each."""
    heard: list[float] = []
    count = round(PER_SECOND * 2 * bench.seconds)
    with connect(using) as sender, connect(using) as listener:
        listener.execute("LISTEN bare")
        thread = Thread(
            target=lambda: heard.extend(time.perf_counter() for _ in listener.notifies(stop_after=count))
        )
        thread.start()
        sent = []
        for _ in range(count):
            sender.execute("NOTIFY bare")
            sent.append(time.perf_counter())
            time.sleep(1 / PER_SECOND)
        thread.join()
    return 1000 * statistics.median(arrival - at for at, arrival in zip(sent, heard, strict=True))


def _sides(ours: Callable[[], float], reference: Callable[[], float]) -> Sides:
    return Sides(partial(in_child, ours), partial(in_child, reference))


def _idle(using: str, measure: Measure) -> Callable[[Bench], Iterator[Sides]]:
    def open_sides(bench: Bench) -> Iterator[Sides]:
        bench.add_database(using)
        yield _sides(partial(idle, bench, measure, using), partial(idle_plainly, bench, measure, using))

    return open_sides


for name, title, unit, limit, measure in (
    ("idle-cpu", "20 idle subscriptions, share of a core", "%", 2, percent_of_a_core),
    ("idle-statements", "20 idle subscriptions, statements of each", "per second", 5, statements_per_second),
):
    workload(
        name,
        title=title,
        reference="20 threads with a connection each that ask for the head every 0.5 s",
        unit=unit,
        goal=of_ours_at_most(limit),
    )(_idle(name.replace("-", "_"), measure))


@workload(
    "latency",
    title="from save to handler at 50 events/s, median",
    reference="from a NOTIFY to a listening connection",
    unit="ms",
    goal=of_ours_at_most(10),
)
def save_to_handler(bench: Bench) -> Iterator[Sides]:
    bench.add_database("latency")
    yield _sides(partial(latency, bench, "latency"), partial(latency_plainly, bench, "latency"))
