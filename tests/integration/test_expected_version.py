"""Where a writer believes the stream to be is checked while others write; who loses is told what is there."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from eventsource_app.store import (
    AppendResult,
    EventStore,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
)
from tests.builders import a_store, a_stream, paid_in, payments

pytestmark = pytest.mark.django_db(transaction=True)
WRITERS = 8


def race(store: EventStore, stream: StreamId, expected: ExpectedVersion) -> list[AppendResult | Exception]:
    """Let several threads append at once, each on a connection of its own."""
    start = threading.Barrier(WRITERS)

    def write(_: int) -> AppendResult | Exception:
        try:
            connection.ensure_connection()
            start.wait(10)
            return store.append(stream, [paid_in(stream)], expected)
        except WrongExpectedVersionError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, range(WRITERS)))


def test_of_many_first_events_one_wins_and_the_others_are_told() -> None:
    store, stream = a_store(), a_stream()
    outcomes = race(store, stream, ExpectedVersion.NO_STREAM)
    errors = [outcome for outcome in outcomes if isinstance(outcome, WrongExpectedVersionError)]
    assert len(errors) == WRITERS - 1
    assert {(error.stream, error.expected, error.actual) for error in errors} == {
        (stream, ExpectedVersion.NO_STREAM, 1)
    }
    assert str(errors[0]) == (
        f"Stream {stream} was expected at no stream, but there is version 1; load it again and decide anew."
    )
    assert len(store.read_stream(stream)) == 1


def test_any_lets_all_of_them_in_one_after_the_other() -> None:
    store, stream = a_store(), a_stream()
    outcomes = race(store, stream, ExpectedVersion.ANY)
    assert sorted(o.version for o in outcomes if isinstance(o, AppendResult)) == list(range(1, WRITERS + 1))
    assert [r.aggregate_version for r in store.read_stream(stream)] == list(range(1, WRITERS + 1))


def test_stream_exists_lets_all_of_them_in_once_it_exists() -> None:
    store, stream = a_store(), a_stream()
    store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
    outcomes = race(store, stream, ExpectedVersion.STREAM_EXISTS)
    assert sorted(o.version for o in outcomes if isinstance(o, AppendResult)) == list(range(2, WRITERS + 2))


def test_the_loser_waits_for_the_winners_outcome() -> None:
    """A rival that has not committed may still vanish: then the second writer has won after all."""
    store, stream = a_store(), a_stream()
    entered = threading.Event()

    def rival() -> AppendResult:
        entered.set()
        try:
            return store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
            outcome = pool.submit(rival)
            entered.wait(10)
            wait_until_someone_waits_for_us()
            transaction.set_rollback(True)
        assert outcome.result(10).version == 1
    assert len(store.read_stream(stream)) == 1


def test_the_sentence_of_each_mode() -> None:
    store, stream = a_store(), a_stream()
    with pytest.raises(
        WrongExpectedVersionError, match="expected at version 3, but there is no such stream;"
    ):
        store.append(stream, [paid_in(stream, 4)], ExpectedVersion.exact(3))
    with pytest.raises(
        WrongExpectedVersionError, match="expected at an existing stream, but there is no such stream;"
    ):
        store.append(stream, [paid_in(stream)], ExpectedVersion.STREAM_EXISTS)
    store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
    with pytest.raises(WrongExpectedVersionError, match="expected at version 1, but there is version 2;"):
        store.append(stream, [paid_in(stream, 2)], ExpectedVersion.exact(1))


def wait_until_someone_waits_for_us() -> None:
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.fetchone()[0]:
                return
        threading.Event().wait(0.01)
    raise AssertionError("Nobody waited for the open transaction.")
