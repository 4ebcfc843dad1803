"""export_events, import_events and verify_events: pipes, links and devices, wrong names, and an end by a signal."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from pathlib import Path
from types import FrameType

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction

from eventsource_app.models import Event
from eventsource_app.store import ExpectedVersion
from eventsource_app.store.exporting import export_events
from eventsource_app.store.importing import import_events
from tests.builders import a_store, a_stream, payments
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def log() -> bytes:
    """Twenty stored events, as they are exported."""
    stream = a_stream()
    a_store().append(stream, payments(stream, 20), ExpectedVersion.NO_STREAM)
    file = BytesIO()
    export_events(file)
    return file.getvalue()


def _run(*arguments: object) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out)
    return out.getvalue()


def _refused(*arguments: object) -> CommandError:
    with pytest.raises((CommandError, KeyboardInterrupt)) as refusal:
        _run(*arguments)
    error = refusal.value
    assert isinstance(error, CommandError), "nobody handles SIGINT"
    assert "\n" not in str(error)
    return error


def _truncate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE eventsource_app_event")


# -- a database where the log cannot be read


@pytest.mark.parametrize("command", [("verify_events",), ("export_events", "-")])
def test_a_user_whose_transactions_are_serializable_is_told_in_a_sentence(
    log: bytes, command: tuple[str, ...]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_isolation TO serializable")
    try:
        error = _refused(*command)
    finally:
        connection.close()
    assert error.returncode == 1
    assert (
        "'default' cannot be read (The event feed reads at READ COMMITTED only, not at SERIALIZABLE"
        in str(error)
    )
    assert "manage.py check --database default" in str(error)


def test_a_role_that_may_only_append_and_read_is_told_in_a_sentence(log: bytes, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(log)
    _truncate()
    role = "eventsource_importing"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role}")
        cursor.execute(f"GRANT SELECT, INSERT ON eventsource_app_event TO {role}")
        cursor.execute(f"SET ROLE {role}")
    try:
        error = _refused("import_events", file)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
            cursor.execute(f"DROP OWNED BY {role}")
            cursor.execute(f"DROP ROLE {role}")
    assert error.returncode == 1
    assert "may not do this (permission denied for " in str(error)
    assert "as the role that owns the tables" in str(error)


# -- pipes, devices, links


def test_an_export_into_a_pipe_is_written_straight(log: bytes, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _run("export_events", pipe)
        assert os.read(reading, 100_000) == log
    finally:
        os.close(reading)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_an_import_reads_a_pipe_once(log: bytes, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _truncate()
    writer = threading.Thread(target=pipe.write_bytes, args=(log,))
    writer.start()
    try:
        assert "20 events imported" in _run("import_events", pipe)
    finally:
        writer.join()
    assert Event.objects.count() == 20


def test_a_link_stays_and_its_file_is_replaced(log: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to("elsewhere/log.jsonl")
    for _ in range(2):  # the file is not there at first
        _run("export_events", link)
        assert link.is_symlink()
        assert (folder / "log.jsonl").read_bytes() == log
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize("name", ["-", "stdout"])
def test_standard_output_gets_the_events_and_nothing_else(
    name: str, log: bytes, tmp_path: Path, process_environment: dict[str, str]
) -> None:
    """By a link as /dev/stdout is one, but in a folder where a mistake would harm nobody."""
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    command = [sys.executable, "manage.py", "export_events", name if name == "-" else str(link)]
    result = subprocess.run(command, env=process_environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == log
    assert link.is_symlink()


# -- wrong names


@pytest.mark.parametrize("name", ["", ".", "/", "/nowhere/log.jsonl", "loop"])
def test_an_impossible_file_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    for command, done in (("export_events", "written"), ("import_events", "read")):
        assert str(_refused(command, name)).startswith(f"{name!r} cannot be {done} (")
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


COMMANDS = (("verify_events",), ("export_events", "log.jsonl"), ("import_events", "log.jsonl"))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_database_is_a_usage_error(command: tuple[str, ...]) -> None:
    error = _refused(*command, "--database", "nope")
    assert str(error) == "There is no database 'nope' in DATABASES; there are: default."
    assert error.returncode == 2


@pytest.fixture
def without_tables() -> Iterator[None]:
    """The connection looks for its tables where there are none."""
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
        yield
        cursor.execute("RESET search_path")


@pytest.mark.usefixtures("without_tables")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_without_a_log_is_one_sentence(command: tuple[str, ...]) -> None:
    assert "has no table eventsource_app_event; run manage.py migrate" in str(_refused(*command))


@pytest.mark.parametrize("command", COMMANDS)
def test_another_kind_of_database_is_one_sentence(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "sqlite")
    assert str(_refused(*command)).startswith("Database 'default' is not PostgreSQL")


# -- an early end

SIGNALS = ((signal.SIGINT, 130), (signal.SIGTERM, 143))


@pytest.fixture(autouse=True)
def unhandled_signals_fail() -> Iterator[None]:
    """Where the command does not take a signal, the test fails and not the whole run."""
    before = signal.signal(signal.SIGTERM, _unhandled)
    yield
    signal.signal(signal.SIGTERM, before)


def _unhandled(_number: int, _frame: FrameType | None) -> None:
    pytest.fail("nobody handles SIGTERM")


class Interrupted:
    """Standard input as a pipe that gives some lines and then a signal."""

    def __init__(self, lines: list[bytes], number: signal.Signals) -> None:
        self.buffer = self
        self.lines, self.number = lines, number

    def seekable(self) -> bool:
        return False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.lines
        signal.raise_signal(self.number)


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_an_interrupted_import_says_how_far_it_came(
    number: signal.Signals, status: int, log: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _truncate()
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "stdin", Interrupted(log.splitlines()[:17], number))
    error = _refused("import_events", "-", "--chunk-lines", 5)
    assert str(error) == (
        "Interrupted: 15 events imported, 0 were there already; run it again to go on from there."
    )
    assert error.returncode == status
    assert Event.objects.count() == 15
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("letter", ["x", "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "\N{GRINNING FACE}"])
def test_a_file_may_have_the_longest_name_that_a_folder_takes(
    letter: str, log: bytes, tmp_path: Path
) -> None:
    file = tmp_path / (letter * (255 // len(letter.encode())))
    _run("export_events", file)
    assert file.read_bytes() == log
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_an_interrupted_export_leaves_the_file_as_it_was(
    number: signal.Signals, status: int, log: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"yesterday's")

    def interrupted_export(output: BytesIO, _using: str, on_progress: Callable[[int], None]) -> int:
        output.write(log)
        on_progress(20)
        signal.raise_signal(number)
        return 20

    monkeypatch.setattr("eventsource_app.management.commands.export_events.export_events", interrupted_export)
    error = _refused("export_events", file)
    assert str(error).startswith("Interrupted: 20 events were written, not all; run it again")
    assert error.returncode == status
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
    assert file.read_bytes() == b"yesterday's"


def test_an_export_process_that_is_terminated_leaves_nothing_behind(
    log: bytes, tmp_path: Path, process_environment: dict[str, str]
) -> None:
    command = [sys.executable, "manage.py", "export_events", str(tmp_path / "log.jsonl")]
    with transaction.atomic():
        with connection.cursor() as cursor:  # so that it cannot be quicker
            cursor.execute("LOCK TABLE eventsource_app_event IN ACCESS EXCLUSIVE MODE")
        with subprocess.Popen(command, env=process_environment, stderr=subprocess.PIPE) as process:
            wait_for(lambda: list(tmp_path.iterdir()) or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
    assert process.returncode == 143
    assert b"Interrupted: 0 events were written" in said
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_verification_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted_verification(_using: str, on_progress: Callable[[int], None]) -> None:
        on_progress(7)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("eventsource_app.management.commands.verify_events.verify", interrupted_verification)
    error = _refused("verify_events")
    assert str(error).startswith("Interrupted: 7 events were read, not all")
    assert error.returncode == 143


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_a_chunk_of_no_lines_is_refused_by_what_is_wrong_with_it(number: str) -> None:
    sentence = f"Error: argument --chunk-lines: {number!r} is not a number of lines from 1"
    assert str(_refused("import_events", "-", f"--chunk-lines={number}")) == sentence


def test_a_refused_import_says_what_it_stored_before(log: bytes, tmp_path: Path) -> None:
    lines = log.splitlines(keepends=True)
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"".join([*lines[:12], b"{}\n", *lines[13:]]))
    _truncate()
    import_events(lines[:5])
    assert str(_refused("import_events", file, "--chunk-lines", 5)).endswith(
        "Before that: 5 events imported, 5 were there already; run it again with a mended file to go on from there."
    )
    assert Event.objects.count() == 10
    file.write_bytes(log)
    assert _run("import_events", file) == "10 events imported, 10 were there already.\n"
