"""export_events, import_events and verify_events: pipes, links and devices, wrong names, and an end by a signal."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from eventsource_app.models import Event
from eventsource_app.store import ExpectedVersion
from eventsource_app.store.exporting import export_events
from tests.builders import a_store, a_stream, payments

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
    with pytest.raises(CommandError) as refusal:
        _run(*arguments)
    assert "\n" not in str(refusal.value)
    return refusal.value


def _truncate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE eventsource_app_event")


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
