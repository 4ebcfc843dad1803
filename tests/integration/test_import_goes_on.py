"""An import that was interrupted, or that is run twice or several times at once, stores each event once."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from eventsource_app.models import Event
from eventsource_app.store import import_lock, importing
from eventsource_app.store.importing import ImportResult
from tests.integration.log_files import exported, fill_log, import_log, in_a_thread, truncate

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_import_killed_half_way_goes_on_where_it_was(
    tmp_path: Path, process_environment: dict[str, str]
) -> None:
    fill_log(30_000)
    file = tmp_path / "log.jsonl"
    file.write_bytes(exported())
    truncate()
    command = [sys.executable, "manage.py", "import_events", str(file), "--chunk-lines", "200"]
    with subprocess.Popen(command, env=process_environment, stderr=subprocess.DEVNULL) as process:
        while Event.objects.count() < 1000 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    # The server may still be busy with the chunk that nobody waits for any more.
    import_log(file.read_bytes().splitlines(keepends=True)[0])
    stored = Event.objects.count()
    result = import_log(file.read_bytes())
    assert 1000 <= stored < 30_000
    assert result.imported + result.skipped == 30_000
    assert result.skipped >= stored
    assert exported() == file.read_bytes()


def test_importing_twice_changes_nothing() -> None:
    fill_log(100)
    log = exported()
    assert import_log(log, chunk_lines=30) == ImportResult(imported=0, skipped=100)
    assert exported() == log


def test_overlapping_imports_of_one_file_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other import stores every chunk between our look and our lock."""
    fill_log(20)
    log = exported()
    truncate()
    results: list[ImportResult] = []

    def overtaken(using: str, try_ms: int) -> None:
        if threading.current_thread() is threading.main_thread():
            in_a_thread(lambda: results.append(import_log(log, chunk_lines=7)))
        import_lock.lock_event_table(using, try_ms)

    monkeypatch.setattr(importing, "lock_event_table", overtaken)
    results.append(import_log(log, chunk_lines=7))
    assert results == [ImportResult(imported=20, skipped=0), ImportResult(imported=0, skipped=20)]
    assert exported() == log


def test_three_imports_of_one_file_at_once_store_it_once() -> None:
    fill_log(100)
    log = exported()
    truncate()
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(_import_and_close, log) for _ in range(3)]
    assert sum(future.result().imported for future in futures) == 100
    assert exported() == log


def _import_and_close(log: bytes) -> ImportResult:
    try:
        return import_log(log, chunk_lines=7)
    finally:
        connection.close()
