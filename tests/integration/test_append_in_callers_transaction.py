"""Events and the caller's own rows commit together or vanish together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group
from django.db import InternalError, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError

from eventsource_app.events import InvalidEventError
from eventsource_app.models import Event
from eventsource_app.store import (
    DuplicateEventError,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
    appending,
)
from tests.builders import a_store, a_stream, paid_in, payments

pytestmark = pytest.mark.django_db(transaction=True)


class InterruptionError(Exception):
    pass


def test_they_commit_together() -> None:
    store, stream = a_store(), a_stream()
    with transaction.atomic():
        Group.objects.create(name="mine")
        store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
    assert store.stream_version(stream) == 2
    assert Group.objects.filter(name="mine").exists()


def test_they_vanish_together() -> None:
    store, stream = a_store(), a_stream()
    with pytest.raises(InterruptionError), transaction.atomic():  # noqa: PT012 - the whole block is undone
        Group.objects.create(name="mine")
        store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
        raise InterruptionError
    assert store.read_stream(stream) == []
    assert store.read_all() == []
    assert not Group.objects.exists()


def test_a_nested_rollback_leaves_nothing_and_the_rest_goes_on() -> None:
    store, kept, dropped = a_store(), a_stream(), a_stream()
    with transaction.atomic():
        with pytest.raises(InterruptionError), transaction.atomic():  # noqa: PT012 - the whole block is undone
            store.append(dropped, payments(dropped, 3), ExpectedVersion.NO_STREAM)
            raise InterruptionError
        store.append(kept, payments(kept, 2), ExpectedVersion.NO_STREAM)
    assert store.read_stream(dropped) == []
    assert {recorded.aggregate_id for recorded in store.read_all()} == {kept.aggregate_id}
    assert Event.objects.count() == 2


def test_the_fence_is_taken_again_after_a_nested_rollback_released_it() -> None:
    """Otherwise the append after the savepoint would run without one, and a reader could pass it."""
    store = a_store()
    with transaction.atomic():
        for keep in (False, True):
            stream = a_stream()
            with transaction.atomic():
                store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
                assert fences_held() == 1
                transaction.set_rollback(not keep)
            assert fences_held() == keep
    assert fences_held() == 0


def test_many_appends_in_one_transaction_hold_one_fence() -> None:
    store = a_store()
    with transaction.atomic():
        for _ in range(20):
            stream = a_stream()
            store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
        assert fences_held() == 1


def test_a_lost_race_does_not_break_the_callers_transaction() -> None:
    store, stream, other = a_store(), a_stream(), a_stream()
    store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
    with transaction.atomic():
        Group.objects.create(name="mine")
        with pytest.raises(WrongExpectedVersionError):
            store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
        store.append(other, payments(other, 1), ExpectedVersion.NO_STREAM)
    assert store.stream_version(other) == 1
    assert Group.objects.filter(name="mine").exists()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_taken_id_does_not_break_the_callers_transaction(place: int) -> None:
    store, taken, stream, other = a_store(), a_stream(), a_stream(), a_stream()
    stored = paid_in(taken)
    store.append(taken, [stored], ExpectedVersion.NO_STREAM)
    events = payments(stream, 3)
    events[place] = events[place].model_copy(update={"event_id": stored.event_id})
    with transaction.atomic():
        store.append(other, payments(other, 1), ExpectedVersion.NO_STREAM)
        with pytest.raises(DuplicateEventError):
            store.append(stream, events, ExpectedVersion.NO_STREAM)
        Group.objects.create(name="mine")
    assert (store.stream_version(other), store.stream_version(stream)) == (1, 0)
    assert Group.objects.filter(name="mine").exists()


def test_a_transaction_that_an_error_has_ended_is_not_committed_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appending, "is_storable_name", lambda _: True)  # a check that somebody forgot
    store, stream, other = a_store(), a_stream(), a_stream()
    impossible = paid_in(stream).model_copy(update={"actor_id": "x" * 201})
    with transaction.atomic():
        store.append(other, payments(other, 1), ExpectedVersion.NO_STREAM)
        with pytest.raises(InvalidEventError):
            store.append(stream, [impossible], ExpectedVersion.NO_STREAM)
        with pytest.raises(TransactionManagementError):
            store.stream_version(other)
        transaction.set_rollback(False)  # whoever insists finds the database of the same mind
        with pytest.raises(InternalError):
            store.stream_version(other)
        transaction.set_rollback(True)
    assert store.stream_version(other) == 0


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_a_limit_that_an_append_has_met_is_not_committed_in_silence(limit: str, count: int) -> None:
    """Another append of the same stream runs for longer than this one may wait."""
    store, stream = a_store(), a_stream()
    with another_transaction_that_appends(stream):
        with transaction.atomic():
            Group.objects.create(name="mine")
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config(%s, '100ms', true)", [limit])
            with pytest.raises(OperationalError):
                store.append(stream, payments(stream, count), ExpectedVersion.NO_STREAM)
            with pytest.raises(TransactionManagementError):
                Group.objects.exists()
        assert not Group.objects.exists()
    assert store.stream_version(stream) == 1


@contextmanager
def another_transaction_that_appends(stream: StreamId) -> Iterator[None]:
    appended, over = threading.Event(), threading.Event()

    def run() -> None:
        try:
            with transaction.atomic():
                a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
                appended.set()
                over.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert appended.wait(30)
        yield
    finally:
        over.set()
        thread.join()


def test_ones_own_running_append_does_not_hide_ones_own_events() -> None:
    store, stream = a_store(), a_stream()
    with transaction.atomic():
        store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
        assert [recorded.aggregate_version for recorded in store.read_all()] == [1, 2]


def fences_held() -> int:
    sql = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock'
             AND classid::bigint >> 16 = x'4556'::bigint AND pid = pg_backend_pid()"""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])
