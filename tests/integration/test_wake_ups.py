"""Appends wake those who wait, once they have committed, and without a NOTIFY in anybody's transaction."""

import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from pytest_django import Settings

from eventsource_app.store import ExpectedVersion
from eventsource_app.store.notifications import CHANNEL, PROGRESS_CHANNEL, _notify, close_wake_ups, connect
from tests.builders import a_store, a_stream, paid_in
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listener() -> Iterator[psycopg.Connection[Any]]:
    close_wake_ups()
    with connect("default") as listening:
        listening.execute(f"LISTEN {CHANNEL}")
        yield listening
    close_wake_ups()


def append() -> None:
    stream = a_stream()
    a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)


def is_waking() -> bool:
    """Say whether anything was asked of the notifying thread since the fixture ended it: it starts on demand."""
    return any(thread.name == "eventsource-wake-ups" for thread in threading.enumerate())


def test_an_append_wakes_the_listener(listener: psycopg.Connection[Any]) -> None:
    append()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1


def test_it_goes_on_after_the_thread_ended(listener: psycopg.Connection[Any]) -> None:
    for _ in range(3):
        append()
        assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1
        close_wake_ups()


def test_in_a_transaction_it_waits_for_the_commit(listener: psycopg.Connection[Any]) -> None:
    with transaction.atomic():
        append()
        assert not is_waking()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1


def test_a_rollback_wakes_nobody(listener: psycopg.Connection[Any]) -> None:
    with transaction.atomic():
        append()
        transaction.set_rollback(True)
    assert not is_waking()


def test_many_appends_share_a_wake_up(listener: psycopg.Connection[Any]) -> None:
    with transaction.atomic():
        for _ in range(50):
            append()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1
    close_wake_ups()
    assert len(list(listener.notifies(timeout=0))) <= 1


def test_one_leaves_nothing_set_for_whom_a_pooler_gives_the_session_next() -> None:
    notices: list[str | None] = []
    with connect("default") as notifying:
        notifying.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        notifying.execute("SET synchronous_commit = on")
        _notify(notifying, [CHANNEL, PROGRESS_CHANNEL])
        assert notifying.execute("SHOW synchronous_commit").fetchall() == [("on",)]
    assert notices == []


def test_a_setting_turns_them_off(listener: psycopg.Connection[Any], settings: Settings) -> None:
    settings.EVENTSOURCE = {"WAKE_UPS": False}
    append()
    assert not is_waking()


def test_a_lost_one_is_a_log_line_and_the_append_stands(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close_wake_ups()

    def refuse(_: str) -> psycopg.Connection[Any]:
        raise psycopg.OperationalError("no more connections")

    monkeypatch.setattr("eventsource_app.store.notifications.connect", refuse)
    append()
    close_wake_ups()
    assert "Wake-up not sent; workers find the events by polling" in caplog.messages
    assert len(a_store().read_all()) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_one_that_no_thread_can_send_is_a_log_line_and_the_next_append_asks_again(
    listener: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        append()
    assert "Wake-up not sent; workers find the events by polling" in caplog.messages
    close_wake_ups()
    append()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1


def test_it_is_asked_for_again_after_the_thread_died_of_an_error(
    listener: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> psycopg.Connection[Any]:
        raise psycopg.OperationalError("no more connections")

    with monkeypatch.context() as patch:
        patch.setattr("eventsource_app.store.notifications.connect", refuse)
        append()
        wait_for(lambda: not is_waking(), what="the thread's end")
    append()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1


def test_a_forked_child_wakes_by_a_thread_of_its_own(listener: psycopg.Connection[Any]) -> None:
    append()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1
    connection.close()
    fork = multiprocessing.get_context("fork")
    over = fork.Event()
    child = fork.Process(target=append_in_child, args=(over,))
    child.start()
    assert len(list(listener.notifies(timeout=20, stop_after=1))) == 1
    over.set()
    child.join()
    assert child.exitcode == 0


def append_in_child(over: Any) -> None:
    append()
    over.wait(30)
    close_wake_ups()
    connection.close()
