"""The log leaves and comes back unchanged, an interrupted import goes on, another log is refused, damage is found."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from eventsource_app.events import default_registry
from eventsource_app.models import Checkpoint, Event
from eventsource_app.store import ExpectedVersion, import_lock, importing, paging, verification
from eventsource_app.store.export_line import ImportRefusedError
from eventsource_app.store.exporting import export_events
from eventsource_app.store.import_lock import TableBusyError, patiently
from eventsource_app.store.importing import ImportResult, import_events
from eventsource_app.store.session import Params, Row, fetch_all
from eventsource_app.store.slots import slot_of
from eventsource_app.store.text_cursor import TextCursor
from eventsource_app.store.verification import MAX_FINDINGS, Verification, verify
from tests import builders
from tests.builders import a_store, a_stream, note, payments

pytestmark = pytest.mark.django_db(transaction=True)

# Numbers, letters, escapes and empty things whose text must come back to the byte.
FILL = """
INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id,
    aggregate_version, slot, occurred_at, correlation_id, causation_id, actor_id, metadata, data)
SELECT gen_random_uuid(), 'Noted', 1 + version %% 3, 'Übung "1"', stream.id, version,
       ((get_byte(stream.digest, 30) & 3) << 8) | get_byte(stream.digest, 31),
       timestamptz '2026-01-31 23:59:59.9+01' + random() * interval '1 year', CASE WHEN version %% 2 = 0 THEN 'a\\b"c' END,
       CASE WHEN version %% 3 = 0 THEN gen_random_uuid() END, CASE WHEN version %% 5 = 0 THEN 'ß\n\t' END,
       jsonb_build_object('n', version), jsonb_build_object('price', '1.100'::numeric, 'text', E'\\u00e9\\n"\\\\', 'big',
       12345678901234567890123::numeric, 'random', random(), 'nothing', null, 'list', '[1, {}, []]'::jsonb)
  FROM (SELECT id, sha256(id::text::bytea) AS digest
          FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %s)) AS ids) AS stream
 CROSS JOIN generate_series(1, 10) AS version
"""


def _fill(events: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FILL, [events // 10])


def _exported() -> bytes:
    file = BytesIO()
    export_events(file)
    return file.getvalue()


def _import(log: bytes, chunk_lines: int = 5000) -> ImportResult:
    return import_events(log.splitlines(keepends=True), chunk_lines=chunk_lines)


def _truncate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE eventsource_app_event")


@pytest.fixture
def unguarded() -> Iterator[None]:
    """Lets a test damage the log behind the guards' back."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        yield
        cursor.execute("RESET session_replication_role")


def _damage(assignment: str, version: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE eventsource_app_event SET {assignment} WHERE aggregate_version = {version}")


# -- there and back


@pytest.mark.slow
def test_a_hundred_thousand_events_come_back_byte_for_byte(tmp_path: Path) -> None:
    _fill(100_000)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    call_command("export_events", str(first), stdout=StringIO())
    _truncate()
    call_command("import_events", str(first), stdout=StringIO())
    call_command("export_events", str(second), stdout=StringIO())
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().count(b"\n") == 100_000
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["first.jsonl", "second.jsonl"]


def test_a_line_has_every_column_in_one_order_and_is_json() -> None:
    stream = a_stream()
    a_store().append(stream, [note(stream, {"a": 1})], ExpectedVersion.NO_STREAM)
    line = json.loads(_exported())
    assert list(line) == [
        *(
            "position",
            "event_id",
            "event_type",
            "schema_version",
            "aggregate_type",
            "aggregate_id",
            "aggregate_version",
        ),
        *(
            "slot",
            "occurred_at",
            "recorded_at",
            "correlation_id",
            "causation_id",
            "actor_id",
            "metadata",
            "data",
        ),
    ]
    assert line["data"] == {"note": {"a": 1}}


def test_the_export_stops_below_an_append_that_still_runs() -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT eventsource_take_fence()")
            late = a_stream()
            a_store().append(late, payments(late, 1), ExpectedVersion.NO_STREAM)
            assert _exported().count(b"\n") == 1
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert _exported().count(b"\n") == 2


def test_appends_go_on_above_what_was_imported() -> None:
    _fill(20)
    log = _exported()
    _truncate()
    top = json.loads(log.splitlines()[-1])["position"] + 1000
    moved = log.splitlines()[:1]
    line = json.loads(moved[0]) | {"position": top, "slot": 3}
    _import(json.dumps(line).encode())
    stream = a_stream()
    assert a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM).position > top
    assert Event.objects.get(position=top).slot == slot_of(Event.objects.get(position=top).aggregate_id)


# -- pages


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What each page asked for, how many rows came, and their bytes; a page has 20,000 bytes."""
    pages: list[tuple[int, int, int]] = []

    def noted(using: str, statement: str, params: Sequence[Any], kind: type[TextCursor]) -> list[Row]:
        rows = fetch_all(using, statement, params, kind)
        pages.append((params[-2], len(rows), rows[-1][-2] if rows else 0))
        return rows

    monkeypatch.setattr(paging, "fetch_all", noted)
    monkeypatch.setattr(paging, "PAGE_BYTES", 20_000)
    return pages


def _append_notes(*sizes: int) -> None:
    stream = a_stream()
    a_store().append(
        stream,
        [note(stream, "x" * size, version) for version, size in enumerate(sizes, start=1)],
        ExpectedVersion.NO_STREAM,
    )


READERS = pytest.mark.parametrize("read", [lambda: _exported(), lambda: _verify()], ids=["export", "verify"])


@READERS
def test_a_page_of_large_events_has_few_rows(
    read: Callable[[], object], asked: list[tuple[int, int, int]]
) -> None:
    """Also where the small ones before them had promised room for many."""
    _append_notes(*[1] * 30, *[6_000] * 40, *[50_000] * 3, *[1] * 30)
    read()
    assert asked[0][0] == paging.FIRST_ROWS
    assert all(size < 20_000 + 50_500 for *_, size in asked)
    wanted_after_large = [
        after[0] for before, after in pairwise(asked) if before[1] and before[2] / before[1] > 5_000
    ]
    assert len(wanted_after_large) > 10
    assert max(wanted_after_large) <= 4
    assert sum(count for _, count, _ in asked) == 103


@READERS
def test_small_events_come_in_few_round_trips(
    read: Callable[[], object], asked: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 4 * 1024 * 1024)
    _fill(2000)
    read()
    assert [count for _, count, _ in asked] == [20, 500, 500, 500, 480, 0]


# -- interruptions


def test_an_import_killed_half_way_goes_on_where_it_was(
    tmp_path: Path, process_environment: dict[str, str]
) -> None:
    _fill(30_000)
    file = tmp_path / "log.jsonl"
    file.write_bytes(_exported())
    _truncate()
    command = [sys.executable, "manage.py", "import_events", str(file), "--chunk-lines", "200"]
    with subprocess.Popen(command, env=process_environment, stderr=subprocess.DEVNULL) as process:
        while Event.objects.count() < 1000 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    # The server may still be busy with the chunk that nobody waits for any more.
    _import(file.read_bytes().splitlines(keepends=True)[0])
    stored = Event.objects.count()
    result = _import(file.read_bytes())
    assert 1000 <= stored < 30_000
    assert result.imported + result.skipped == 30_000
    assert result.skipped >= stored
    assert _exported() == file.read_bytes()


def test_importing_twice_changes_nothing() -> None:
    _fill(100)
    log = _exported()
    assert _import(log, chunk_lines=30) == ImportResult(imported=0, skipped=100)
    assert _exported() == log


def test_overlapping_imports_of_one_file_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other import stores every chunk between our look and our lock."""
    _fill(20)
    log = _exported()
    _truncate()
    results: list[ImportResult] = []

    def overtaken(using: str, try_ms: int) -> None:
        if threading.current_thread() is threading.main_thread():
            _in_a_thread(lambda: results.append(_import(log, chunk_lines=7)))
        import_lock.lock_event_table(using, try_ms)

    monkeypatch.setattr(importing, "lock_event_table", overtaken)
    results.append(_import(log, chunk_lines=7))
    assert results == [ImportResult(imported=20, skipped=0), ImportResult(imported=0, skipped=20)]
    assert _exported() == log


def test_three_imports_of_one_file_at_once_store_it_once() -> None:
    _fill(100)
    log = _exported()
    _truncate()
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(_import_and_close, log) for _ in range(3)]
    assert sum(future.result().imported for future in futures) == 100
    assert _exported() == log


def _import_and_close(log: bytes) -> ImportResult:
    try:
        return _import(log, chunk_lines=7)
    finally:
        connection.close()


def _in_a_thread(action: Callable[[], object]) -> None:
    """Run it to its end on a connection of its own."""

    def run() -> None:
        try:
            action()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


# -- beside live appends


def test_live_appends_wait_for_a_chunk_and_readers_miss_nothing() -> None:
    _fill(5000)
    log = _exported()
    _truncate()
    stop = threading.Event()
    writer = threading.Thread(target=_append_until, args=(stop,))
    seen: list[int] = []
    lines = [_moved(line, 1_000_000) for line in log.splitlines()]
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
    _fill(20)
    lines = [_moved(line, 1_000_000) for line in _exported().splitlines()]
    _truncate()
    _hold(holder)
    caplog.set_level("INFO", "eventsource.import")
    pauses: list[float] = []

    def append_meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        assert not connection.in_atomic_block
        _in_a_thread(_append_at_once)
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
    _fill(20)
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"\n".join(_moved(line, 1_000_000) for line in _exported().splitlines()))
    _truncate()
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


def _moved(line: bytes, by: int) -> bytes:
    event = json.loads(line)
    return json.dumps({**event, "position": event["position"] + by}).encode()


# -- refusals


def _changed(log: bytes, number: int, **values: object) -> bytes:
    lines = log.splitlines()
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **values}).encode()
    return b"\n".join(lines)


def test_a_line_that_cannot_be_is_named() -> None:
    _fill(20)
    log = _exported()
    _truncate()
    lines = log.splitlines()
    missing = json.dumps(
        {key: value for key, value in json.loads(lines[2]).items() if key != "data"}
    ).encode()
    for bad, words in (
        (b"{not json", "Line 3: the line: Invalid JSON"),
        (missing, "Line 3: data: Field required"),
        (lines[1], "Line 3: position"),
        (_changed(log, 3, data={"a": "\0"}).splitlines()[2], "Line 3: the database cannot read it"),
        (_changed(log, 3, extra=1).splitlines()[2], "Line 3: extra"),
        (_changed(log, 3, aggregate_version=30).splitlines()[2], "Line 3: version 30"),
        (_changed(log, 3, event_id=json.loads(lines[0])["event_id"]).splitlines()[2], "eventsource_event_id"),
    ):
        with pytest.raises(ImportRefusedError, match=words):
            _import(b"\n".join([*lines[:2], bad]))
        assert not Event.objects.exists()


def test_another_log_is_refused() -> None:
    _fill(20)
    log = _exported()
    _truncate()
    stream = a_stream()
    a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
    with pytest.raises(ImportRefusedError, match=r"Line 1: event .* this is another log"):
        _import(log)
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    "change", [{"data": {"price": 1.1}}, {"event_id": str(uuid4())}, {"actor_id": "someone"}]
)
def test_a_stored_event_with_other_content_is_refused(change: dict[str, object]) -> None:
    _fill(20)
    with pytest.raises(ImportRefusedError, match=r"Line 7: event .* another log"):
        _import(_changed(_exported(), 7, **change))


def test_an_event_that_is_stored_at_another_position_is_refused() -> None:
    _fill(20)
    with pytest.raises(ImportRefusedError, match=r"Line 1: .* already stored at position"):
        _import(b"\n".join(_moved(line, 1000) for line in _exported().splitlines()))


def test_nothing_is_put_behind_a_checkpoint_or_a_running_worker() -> None:
    _fill(20)
    log = _exported()
    top = json.loads(log.splitlines()[-1])["position"]
    _truncate()
    checkpoint = Checkpoint.objects.create(subscription="orders", position=top)
    with pytest.raises(ImportRefusedError, match="not above the checkpoint of subscription 'orders'"):
        _import(log)
    Checkpoint.objects.update(position=0, owner="worker-1", lease_expires_at="2999-01-01T00:00:00Z")
    with pytest.raises(ImportRefusedError, match="running worker 'worker-1'"):
        _import(log)
    checkpoint.delete()
    assert _import(log).imported == 20


def test_the_command_says_why_it_refuses(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"nonsense\n")
    with pytest.raises(
        CommandError, match=r"is refused\. Line 1.* Before that: 0 events imported, 0 were there"
    ):
        call_command("import_events", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_events", str(tmp_path / "nowhere"))


# -- verification


def _verify() -> Verification:
    return verify(registry=builders.registry)


def test_a_healthy_log_has_no_findings() -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 20), ExpectedVersion.NO_STREAM)
    _fill(20)
    result = _verify()
    assert (result.findings, result.event_count, result.unknown_types) == ([], 40, {"Noted": 20})


def test_a_worker_that_is_quicker_than_every_statement_is_not_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.objects.create(subscription="orders", position=0)

    def append_and_deliver() -> None:
        stream = a_stream()
        checkpoint.position = (
            a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM).position
        )
        checkpoint.save()

    def beside_a_worker(using: str, statement: str, params: Params = ()) -> list[Row]:
        rows = fetch_all(using, statement, params)
        append_and_deliver()
        return rows

    monkeypatch.setattr(verification, "fetch_all", beside_a_worker)
    monkeypatch.setattr(verification, "fetch_one", lambda *arguments: beside_a_worker(*arguments)[0])
    assert _verify().findings == []


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("slot = (slot + 1) % 1024", "belongs to slot"),
        ("aggregate_version = 50", "version 49 does not come before it"),
        ("data = '{}'", "is unreadable: .*amount"),
        ("data = '[1]'", "is unreadable"),
        ("schema_version = 9", "is unreadable"),
        ("""data = '{"amount": "1", "event_id": 5}'""", "event_id inside its payload"),
        ("position = -5", "first event's position is -5"),
    ],
)
def test_damage_is_found(assignment: str, words: str) -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM)
    _damage(assignment, 3)
    result = _verify()
    assert result.finding_count == 1
    assert re.search(words, result.findings[0])


@pytest.mark.usefixtures("unguarded")
def test_findings_are_counted_beyond_those_that_are_listed() -> None:
    _fill(500)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE eventsource_app_event SET slot = (slot + 1) % 1024")
    result = _verify()
    assert (result.finding_count, len(result.findings)) == (500, MAX_FINDINGS)


@pytest.mark.parametrize(
    "name",
    ["app_event_pkey", "event_stream_version", "event_id", "event_slot_range", "event_version_positive"],
)
def test_a_constraint_that_a_restore_did_not_bring_back_is_found(name: str) -> None:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE eventsource_app_event DROP CONSTRAINT eventsource_{name} CASCADE")
        (finding,) = _verify().findings
        transaction.set_rollback(True)
    assert f"'eventsource_{name}'" in finding


def test_a_checkpoint_ahead_a_low_sequence_and_missing_guards_are_found() -> None:
    stream = a_stream()
    last = a_store().append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM).position
    Checkpoint.objects.create(subscription="orders", position=last + 1)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE eventsource_app_event DISABLE TRIGGER eventsource_append_only")
        cursor.execute("ALTER SEQUENCE eventsource_app_event_position_seq CACHE 20")
        cursor.execute("SELECT setval('eventsource_app_event_position_seq', %s)", [last - 1])
    try:
        findings = "\n".join(_verify().findings)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE eventsource_app_event ENABLE TRIGGER eventsource_append_only")
            cursor.execute("ALTER SEQUENCE eventsource_app_event_position_seq CACHE 1")
            cursor.execute("SELECT setval('eventsource_app_event_position_seq', %s)", [last])
    for words in (
        "CACHE 20",
        "below the last event's position",
        "'orders', partition 0",
        "'eventsource_append_only'",
    ):
        assert words in findings


@pytest.mark.usefixtures("unguarded")
def test_the_command_fails_with_the_findings() -> None:
    _fill(10)
    assert "Noted" not in default_registry
    _damage("slot = (slot + 1) % 1024", 3)
    out = StringIO()
    with pytest.raises(CommandError, match="1 findings in 10 events"):
        call_command("verify_events", stdout=out)
    assert "belongs to slot" in out.getvalue()
    assert "10 events of type 'Noted', which is not registered" in out.getvalue()
