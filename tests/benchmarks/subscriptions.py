"""Subscriptions: real managers on a log that is there, beside plain psycopg that does the same with a position of its own."""

import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, ClassVar

import psycopg
from django.db import connections

from eventsource_app.store import EventStore, RecordedEvent
from eventsource_app.store.notifications import connect
from eventsource_app.subscriptions import Projection, SubscriptionConfig, SubscriptionManager, handles
from tests.benchmarks import bare
from tests.benchmarks.logs import fill
from tests.benchmarks.processes import be_quiet, in_child
from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Sides, at_least, at_most, workload
from tests.builders import MoneyPaidIn, registry

NAME = "benchmark"
BATCH = 100
PATIENCE_SECONDS = 600.0
TABLES = """
CREATE TABLE bench_balance (aggregate_id uuid PRIMARY KEY, event_count int NOT NULL, amount numeric NOT NULL);
CREATE TABLE bench_position (position bigint NOT NULL);
"""
REWIND = """
TRUNCATE bench_balance, bench_position;
INSERT INTO bench_position VALUES (0);
DELETE FROM eventsource_app_checkpoint;
"""
UPSERT = """
INSERT INTO bench_balance AS old VALUES (%s, 1, %s)
ON CONFLICT (aggregate_id) DO UPDATE SET event_count = old.event_count + 1, amount = old.amount + excluded.amount
"""
UPSERT_BATCH = """
INSERT INTO bench_balance AS old
SELECT id, count(*), sum(amount) FROM unnest(%s::uuid[], %s::numeric[]) AS paid (id, amount) GROUP BY id
ON CONFLICT (aggregate_id) DO UPDATE SET
    event_count = old.event_count + excluded.event_count, amount = old.amount + excluded.amount
"""
MOVE = "UPDATE bench_position SET position = %s"
IS_AT_END = """
SELECT count(*) > 0 AND min(position) >= %s FROM eventsource_app_checkpoint WHERE subscription = %s
"""
_fork = multiprocessing.get_context("fork")
Cursor = psycopg.Cursor[Any]
HandleRows = Callable[[Cursor, list[tuple[Any, ...]]], object]


class _OnDatabase(Projection):
    """A projection that has the driver's cursor at hand, on Django's connection and inside its transaction."""

    using: ClassVar[str] = "default"

    @cached_property
    def cursor(self) -> Cursor:
        driver: psycopg.Connection[Any] = connections[self.using].connection
        return psycopg.Cursor(driver)


class Nothing(_OnDatabase):
    @handles(MoneyPaidIn)
    def count(self, event: MoneyPaidIn) -> None:
        pass


class Balances(_OnDatabase):
    @handles(MoneyPaidIn)
    def add(self, event: MoneyPaidIn) -> None:
        self.cursor.execute(UPSERT, (event.aggregate_id, event.amount), prepare=True)


class BalancesInBatches(_OnDatabase):
    handled_events = (MoneyPaidIn,)

    def handle_batch(self, recorded: list[RecordedEvent]) -> None:
        events = [each.event for each in recorded]
        ids = [event.aggregate_id for event in events]
        amounts = [event.amount for event in events if isinstance(event, MoneyPaidIn)]
        self.cursor.execute(UPSERT_BATCH, (ids, amounts), prepare=True)


def bare_nothing(cursor: Cursor, rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        json.loads(row[bare.DATA])


def bare_upserts(cursor: Cursor, rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        cursor.execute(
            UPSERT, (row[bare.AGGREGATE_ID], Decimal(json.loads(row[bare.DATA])["amount"])), prepare=True
        )


def bare_batch(cursor: Cursor, rows: list[tuple[Any, ...]]) -> None:
    amounts = [Decimal(json.loads(row[bare.DATA])["amount"]) for row in rows]
    cursor.execute(UPSERT_BATCH, ([row[bare.AGGREGATE_ID] for row in rows], amounts), prepare=True)


def deliver(bench: Bench, using: str, projection: type[_OnDatabase], events: int) -> float:
    """Deliver the whole log to a real manager, with all defaults; return events a second from its start to its end."""
    with bench.connect(using) as database:
        database.execute(REWIND)
        head = _head(database)
        began = time.perf_counter()
        manager = _manager(using, projection, 1)
        manager.start()
        _wait_for_end(database, head)
        seconds = time.perf_counter() - began
        manager.stop()
    return events / seconds


def deliver_by_two(bench: Bench, using: str, events: int) -> float:
    """The same by two processes with a partition each, from the moment that both own theirs."""
    with bench.connect(using) as database:
        database.execute(REWIND)
        head = _head(database)
        go = _fork.Event()
        over = _fork.Event()
        processes = [_fork.Process(target=_one_of_two, args=(using, number, go, over)) for number in (0, 1)]
        for process in processes:
            process.start()
        time.sleep(0.5)  # imported, forked, waiting
        began = time.perf_counter()
        go.set()
        _wait_for_end(database, head)
        seconds = time.perf_counter() - began
        over.set()
        for process in processes:
            process.join()
    return events / seconds


def _one_of_two(using: str, number: int, go: Any, over: Any) -> None:
    from eventsource_app.subscriptions.partitions import Pin

    be_quiet()
    manager = _manager(using, Balances, 2, pin=Pin(number, 2))
    go.wait()
    manager.start()
    over.wait(PATIENCE_SECONDS)
    manager.stop()
    connections.close_all()


def deliver_plainly(bench: Bench, using: str, handle: HandleRows, events: int) -> float:
    """Read pages of a hundred, handle them and move the position, each page in one transaction."""
    with bench.connect(using) as database:
        database.execute(REWIND)
    driver = connect(using)
    driver.autocommit = False
    cursor = driver.cursor()
    began = time.perf_counter()
    after = done = 0
    while True:
        rows = cursor.execute(bare.SELECT_LOG, (after, BATCH), prepare=True).fetchall()
        if not rows:
            break
        handle(cursor, rows)
        after, done = rows[-1][bare.POSITION], done + len(rows)
        cursor.execute(MOVE, (after,), prepare=True)
        driver.commit()
    seconds = time.perf_counter() - began
    driver.close()
    assert done == events
    return events / seconds


def grow(bench: Bench, using: str, events: int) -> float:
    """Return by how many MiB delivering the log makes a process grow at its peak."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    deliver(bench, using, Nothing, events)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _manager(
    using: str, projection: type[_OnDatabase], partitions: int, **options: Any
) -> SubscriptionManager:
    projection.using = using
    manager = SubscriptionManager(EventStore(using, registry=registry), **options)
    manager.subscribe(projection, SubscriptionConfig(partitions=partitions), NAME)
    return manager


def _head(database: psycopg.Connection[Any]) -> int:
    row = database.execute("SELECT max(position) FROM eventsource_app_event").fetchone()
    assert row is not None
    return int(row[0])


def _wait_for_end(database: psycopg.Connection[Any], head: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        row = database.execute(IS_AT_END, (head, NAME)).fetchone()
        if row and row[0]:
            return
        time.sleep(0.01)
    raise TimeoutError(f"The log was not delivered within {PATIENCE_SECONDS:.0f} s.")


def _log_of(bench: Bench, name: str, events: int) -> str:
    bench.add_database(name)
    fill(bench, events, name)
    with bench.connect(name) as database:
        database.execute(TABLES)
    return name


def _beside(
    name: str, projection: type[_OnDatabase], handle: HandleRows, per_second: int
) -> Callable[[Bench], Iterator[Sides]]:
    def open_sides(bench: Bench) -> Iterator[Sides]:
        events = round(per_second * bench.seconds) // 100 * 100
        using = _log_of(bench, name, events)
        yield Sides(
            partial(in_child, partial(deliver, bench, using, projection, events)),
            partial(in_child, partial(deliver_plainly, bench, using, handle, events)),
        )

    return open_sides


for title, goal, projection, handle, reference, per_second in (
    ("no-op", 0.6, Nothing, bare_nothing, "counting with json.loads", 60_000),
    ("upserts", 0.7, Balances, bare_upserts, "the same upserts, prepared", 20_000),
    ("handle-batch", 0.7, BalancesInBatches, bare_batch, "the same statement per page", 60_000),
):
    workload(
        f"deliver-{title}",
        title=f"deliver the log, {title}",
        reference=f"pages of 100 by a cursor, {reference}, position and commit per page",
        unit="events/s",
        goal=at_least(goal),
    )(_beside(f"deliver_{title.replace('-', '_')}", projection, handle, per_second))


@workload(
    "deliver-partitions",
    title="deliver, upserts, 2 partitions, 2 processes",
    reference="our own delivery by one process",
    unit="events/s",
    goal=at_least(1.5),
)
def deliver_partitions(bench: Bench) -> Iterator[Sides]:
    # Long enough that two starts, which take as long as one, do not weigh twice.
    events = round(60_000 * bench.seconds) // 100 * 100
    using = _log_of(bench, "deliver_partitions", events)
    yield Sides(
        partial(in_child, partial(deliver_by_two, bench, using, events)),
        partial(in_child, partial(deliver, bench, using, Balances, events)),
    )


@workload(
    "deliver-memory",
    title="deliver 1,000,000 events, peak growth",
    reference="our own delivery of 100,000",
    unit="MiB",
    goal=at_most(1.2),
    full_only=True,
)
def deliver_memory(bench: Bench) -> Iterator[Sides]:
    long = _log_of(bench, "deliver_long", 1_000_000)
    short = _log_of(bench, "deliver_short", 100_000)
    yield Sides(
        partial(in_child, partial(grow, bench, long, 1_000_000)),
        partial(in_child, partial(grow, bench, short, 100_000)),
    )
