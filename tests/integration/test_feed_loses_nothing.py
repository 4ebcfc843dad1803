"""A reader that follows the log while others write sees every event once, in order, and waits for nobody else.

Positions are drawn before the commit, so they become visible out of order. Each test also shows what a naive reader, who goes on
from the greatest position he saw, makes of the same log: if he lost nothing, the test would prove nothing.
"""

import multiprocessing
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from eventsource_app.models import Event
from eventsource_app.store import ExpectedVersion, RecordedEvent
from eventsource_app.store.appending import INSERT_FIRST, prepare
from eventsource_app.store.notifications import connect
from tests.builders import a_store, a_stream, ids, paid_in, payments, registry
from tests.feed_writers import Campaign, write

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS = 16
TRANSACTIONS_PER_WRITER = 40


class FencedReader:
    """Follows the log as subscriptions do."""

    def __init__(self) -> None:
        self.store = a_store()
        self.after = self.store.head_position()
        self.seen: list[RecordedEvent] = []

    def read(self) -> list[RecordedEvent]:
        page = self.store.read_all(after=self.after, limit=200)
        self.seen += page
        self.after = page[-1].position if page else self.after
        return page


class NaiveReader:
    """Follows the log without the fence: whatever stands above the last position."""

    def __init__(self) -> None:
        self.after = a_store().head_position()
        self.seen: list[UUID] = []

    def read(self) -> None:
        rows = (
            Event.objects.filter(position__gt=self.after)
            .order_by("position")
            .values_list("position", "event_id")
        )
        for self.after, event_id in rows[:200]:
            self.seen.append(event_id)


@contextmanager
def running_writers() -> Iterator[list["Future[list[UUID]]"]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.feed_writers"])
    database = str(connection.settings_dict["NAME"])
    with ProcessPoolExecutor(WRITERS, mp_context=context) as pool:
        yield [
            pool.submit(
                write, Campaign(database, seed, TRANSACTIONS_PER_WRITER, events_per_save=(1, 3, 5)[seed % 3])
            )
            for seed in range(WRITERS)
        ]


def test_sixteen_writers_one_reader_every_event_once_each_stream_in_order() -> None:
    fenced, naive = FencedReader(), NaiveReader()
    with running_writers() as writers:
        while not all(writer.done() for writer in writers):
            fenced.read()
            naive.read()
        committed = {event_id for writer in writers for event_id in writer.result()}
    while fenced.read():
        pass
    assert len(committed) > WRITERS * TRANSACTIONS_PER_WRITER
    assert committed == set(Event.objects.values_list("event_id", flat=True))
    assert len(fenced.seen) == len(committed), "an event was lost, or seen twice"
    assert set(ids(fenced.seen)) == committed
    positions = [recorded.position for recorded in fenced.seen]
    assert positions == sorted(positions)
    for versions in versions_by_stream(fenced.seen).values():
        assert versions == list(range(1, len(versions) + 1))
    assert committed - set(naive.seen), "the naive reader lost nothing, so this campaign would catch nobody"


def versions_by_stream(seen: list[RecordedEvent]) -> dict[UUID, list[int]]:
    versions: dict[UUID, list[int]] = defaultdict(list)
    for recorded in seen:
        versions[recorded.aggregate_id].append(recorded.aggregate_version)
    return versions


def append_on(driver: psycopg.Connection[Any]) -> UUID:
    """Append one event on a connection of its own, in whatever transaction is open there."""
    stream = a_stream()
    event = paid_in(stream)
    params = prepare(stream, [event], ExpectedVersion.NO_STREAM, registry, 1000).params
    psycopg.RawCursor(driver).execute(INSERT_FIRST.joining, params)
    return event.event_id


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    with connect("default") as driver:
        yield driver


def test_a_reader_never_passes_an_append_that_still_runs(other: psycopg.Connection[Any]) -> None:
    """The same, one step at a time: the lower position commits last."""
    fenced, naive, store = FencedReader(), NaiveReader(), a_store()
    stream = a_stream()
    fast = payments(stream, 2)
    with other.transaction():
        slow_id = append_on(other)
        store.append(stream, fast, ExpectedVersion.NO_STREAM)
        naive.read()
        assert fenced.read() == []
        assert store.read_bound().bound < store.read_bound().head == store.head_position()
    naive.read()
    fenced.read()
    assert ids(fenced.seen) == [slow_id, *ids(fast)]
    assert naive.seen == ids(fast), "the naive reader found what he had passed"


def test_what_was_committed_before_a_running_append_is_read(other: psycopg.Connection[Any]) -> None:
    fenced, store = FencedReader(), a_store()
    stream = a_stream()
    store.append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM)
    with other.transaction():
        append_on(other)
        assert [recorded.aggregate_version for recorded in fenced.read()] == [1, 2, 3]


def test_an_append_that_is_rolled_back_frees_the_reader(other: psycopg.Connection[Any]) -> None:
    fenced, store = FencedReader(), a_store()
    stream = a_stream()
    with other.transaction(force_rollback=True):
        append_on(other)
        store.append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
        assert fenced.read() == []
    assert [recorded.aggregate_id for recorded in fenced.read()] == [stream.aggregate_id]


def test_a_savepoint_that_is_rolled_back_takes_its_fence_along_and_the_next_append_has_its_own(
    other: psycopg.Connection[Any],
) -> None:
    fenced, naive, store = FencedReader(), NaiveReader(), a_store()
    stream = a_stream()
    with other.transaction():
        with other.transaction(force_rollback=True):
            append_on(other)
        later_id = append_on(other)
        store.append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
        naive.read()
        assert fenced.read() == []
    fenced.read()
    assert ids(fenced.seen)[0] == later_id
    naive.read()
    assert later_id not in naive.seen


LONG_TRANSACTIONS = {
    "a write in another database": ("postgres", "SELECT pg_current_xact_id()"),
    "a write to another table": (None, "INSERT INTO auth_group (name) VALUES ('slow')"),
    "a fence of another database": (
        "postgres",
        "SELECT pg_advisory_xact_lock_shared((x'4556'::bigint << 48) | 1)",
    ),
    "an advisory lock of one's own": (None, "SELECT pg_advisory_xact_lock_shared(1)"),
    "an advisory lock of two keys": (None, "SELECT pg_advisory_xact_lock_shared(x'45560000'::int, 1)"),
    "a reader with a snapshot": (None, "SELECT count(*) FROM eventsource_app_event"),
}


@pytest.mark.parametrize("case", LONG_TRANSACTIONS)
def test_a_long_transaction_elsewhere_delays_nobody(case: str) -> None:
    """Seen while that transaction is still open, so it delays by nothing at all."""
    database, statement = LONG_TRANSACTIONS[case]
    fenced, store, stream = FencedReader(), a_store(), a_stream()
    params = {**connection.get_connection_params(), "dbname": database or connection.settings_dict["NAME"]}
    with psycopg.connect(**{name: params[name] for name in params.keys() & CONNECTION_KEYS}) as long:
        long.execute(statement)
        store.append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM)
        seen = [recorded.aggregate_version for recorded in fenced.read()]
        assert long.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        long.rollback()
    assert seen == [1, 2, 3]


CONNECTION_KEYS = {"dbname", "host", "port", "user", "password"}


def test_appenders_never_wait_for_each_other_or_for_readers(other: psycopg.Connection[Any]) -> None:
    """One append is open while others commit and are read again; with a common lock this would wait for ever."""
    store, streams = a_store(), [a_stream() for _ in range(3)]
    with other.transaction():
        append_on(other)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        for stream in streams:
            store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
        assert [store.stream_version(stream) for stream in streams] == [2, 2, 2]


def test_the_feed_refuses_an_isolation_that_would_lose_events() -> None:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(OperationalError, match="READ COMMITTED only, not at REPEATABLE READ"):
            a_store().read_all()
        transaction.set_rollback(True)


def test_the_first_position_is_burned_and_positions_are_drawn_one_by_one() -> None:
    """On a fresh sequence last_value is 1 before and after the first draw; a cache would hand positions out of order."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT is_called FROM eventsource_app_event_position_seq")
        assert cursor.fetchone() == (True,)
        cursor.execute(
            "SELECT cache_size FROM pg_sequences WHERE sequencename = 'eventsource_app_event_position_seq'"
        )
        assert cursor.fetchone() == (1,)
    assert a_store().head_position() >= 1
