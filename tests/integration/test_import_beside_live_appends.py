"""An import beside live appends: they wait for a chunk at most, and readers miss nothing."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from eventsource_app.models import Event
from eventsource_app.store import ExpectedVersion, import_lock
from eventsource_app.store.import_lock import TableBusyError, patiently
from eventsource_app.store.importing import import_events
from tests.builders import a_store, a_stream, payments
from tests.integration.log_files import exported, fill_log, in_a_thread, moved, truncate

pytestmark = pytest.mark.django_db(transaction=True)


def test_live_appends_wait_for_a_chunk_and_readers_miss_nothing() -> None:
    fill_log(5000)
    log = exported()
    truncate()
    stop = threading.Event()
    writer = threading.Thread(target=_append_until, args=(stop,))
    seen: list[int] = []
    lines = [moved(line, 1_000_000) for line in log.splitlines()]
    writer.start()
    try:
        _tail(seen)
        import_events(lines, chunk_lines=10_000)
        time.sleep(0.05)
    finally:
        stop.set()
        writer.join()
    _tail(seen)
    assert seen == list(Event.objects.order_by("position").values_list("position", flat=True))
    assert len([position for position in seen if position > 1_000_000]) > 5000


@pytest.fixture
def holder() -> Iterator[BaseDatabaseWrapper]:
    """Another connection, for ``_hold``."""
    other = connections.create_connection("default")
    yield other
    other.close()


def _hold(holder: BaseDatabaseWrapper, mode: str = "ROW EXCLUSIVE") -> None:
    """Have it in a transaction that goes on for as long as the test likes; by default as if it had appended."""
    with holder.cursor() as cursor:
        cursor.execute("SET application_name = 'slowcoach'")
        cursor.execute("BEGIN")
        cursor.execute(f"LOCK TABLE eventsource_app_event IN {mode} MODE")


@pytest.fixture
def short_statements() -> Iterator[None]:
    """No statement may take long, but it is not the wait for a lock that ends it."""
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '5s'; SET lock_timeout = 0")
        yield
        cursor.execute("RESET statement_timeout; RESET lock_timeout")


@pytest.mark.usefixtures("short_statements")
def test_an_import_that_waits_lets_appends_go_on(
    holder: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill_log(20)
    lines = [moved(line, 1_000_000) for line in exported().splitlines()]
    truncate()
    _hold(holder)
    caplog.set_level("INFO", "eventsource.import")
    pauses: list[float] = []

    def append_meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        assert not connection.in_atomic_block
        in_a_thread(_append_at_once)
        if len(pauses) == 7:
            holder.close()

    monkeypatch.setattr(import_lock, "wait", append_meanwhile)
    assert import_events(lines).imported == 20
    assert pauses == [0.25, 0.5, 1, 2, 4, 4, 4]
    assert Event.objects.count() == 27
    waits = [record for record in caplog.records if record.message == "Import waits for the event table"]
    assert len(waits) == 7
    assert "slowcoach, idle in transaction" in vars(waits[0])["holder"]


def test_only_the_lock_itself_is_waited_for_so_briefly() -> None:
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SHOW lock_timeout")
        before = cursor.fetchone()
        import_lock.lock_event_table("default", 77)
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == before


def test_an_import_that_waits_for_minutes_says_who_holds_the_table(
    holder: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill_log(20)
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(moved(line, 1_000_000) for line in exported().splitlines()))
    truncate()
    _hold(holder)
    monkeypatch.setattr(import_lock, "PATIENCE_SECONDS", 2)
    monkeypatch.setattr(import_lock, "wait", lambda _seconds: None)
    with pytest.raises(
        CommandError, match=r"for 2 s, .*process \d+ \(slowcoach, idle in transaction .*; end that"
    ):
        call_command("import_events", str(file))
    assert not Event.objects.exists()


def test_one_try_is_long_enough_for_autovacuum_to_give_way(
    holder: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL cancels it for a request older than deadlock_timeout; a VACUUM by hand stays."""
    _hold(holder, "SHARE UPDATE EXCLUSIVE")
    tries: list[int] = []

    def attempt(try_ms: int) -> int:
        tries.append(try_ms)
        if len(tries) == 4:
            return 0
        raise TableBusyError("Held.")

    monkeypatch.setattr(import_lock, "wait", lambda _seconds: None)
    patiently(attempt, "default")
    assert tries == [200, 2000, 200, 200]


def _append_at_once() -> None:
    """Append, and fail rather than wait behind a lock that somebody asks for."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1ms'")
    stream = a_stream()
    a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)


def _append_until(stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            stream = a_stream()
            a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
    finally:
        connection.close()


def _tail(seen: list[int]) -> None:
    while recorded := a_store().read_all(seen[-1] if seen else 0):
        seen += [item.position for item in recorded]
