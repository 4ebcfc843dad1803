"""Where a writer believes the stream to be is checked while others write; who loses is told what is there."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from eventsource_app.store import (
    AppendResult,
    EventStore,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
    appending,
)
from eventsource_app.store.hot_statements import HotStatement, fetch_hot
from eventsource_app.store.session import Row
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


@pytest.mark.parametrize("joins", [False, True], ids=["alone", "in a transaction"])
@pytest.mark.parametrize("commits", [False, True], ids=["rolled back", "committed"])
@pytest.mark.parametrize("before", [0, 1])
def test_the_rival_waits_for_the_outcome(before: int, commits: bool, joins: bool) -> None:
    """What has not committed may still vanish: then the second writer has won after all. Lost or not, its transaction goes on."""
    store, stream, other = a_store(), a_stream(), a_stream()
    if before:
        store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
    entered = threading.Event()

    def append() -> AppendResult:
        return store.append(stream, [paid_in(stream, before + 1)], ExpectedVersion.exact(before))

    def rival() -> AppendResult | WrongExpectedVersionError:
        entered.set()
        try:
            with transaction.atomic() if joins else nullcontext():
                outcome = _outcome_of(append)
                store.append(other, [paid_in(other)], ExpectedVersion.NO_STREAM)
                return outcome
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            append()
            outcome = pool.submit(rival)
            entered.wait(10)
            wait_until_someone_waits_for_us()
            transaction.set_rollback(not commits)
        assert isinstance(outcome.result(10), WrongExpectedVersionError if commits else AppendResult)
    assert (store.stream_version(stream), store.stream_version(other)) == (before + 1, 1)


def _outcome_of(append: Callable[[], AppendResult]) -> AppendResult | WrongExpectedVersionError:
    try:
        return append()
    except WrongExpectedVersionError as error:
        return error


def test_a_race_that_is_lost_already_is_no_error_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log would have a line for each, and an aggregate that everybody wants loses many."""
    store, stream = a_store(), a_stream()
    store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
    rows: list[list[Row]] = []

    def noted(on: BaseDatabaseWrapper, statement: HotStatement, params: Sequence[str | None]) -> list[Row]:
        rows.append(fetch_hot(on, statement, params))
        return rows[-1]

    monkeypatch.setattr(appending, "fetch_hot", noted)
    with pytest.raises(WrongExpectedVersionError):
        store.append(stream, [paid_in(stream, 2)], ExpectedVersion.exact(1))
    assert rows == [[]]


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
