"""A command that is stopped, or whose reader has read enough: it ends without a traceback and takes its server along."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from settings.env import for_child_process
from settings.local_postgres import PROJECT, project_server
from tests.acceptance.processes import Process, database_answers
from tests.waiting import wait_for

pytestmark = pytest.mark.acceptance
SLEEP = "import time; print('it runs', flush=True); time.sleep(600)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_last_user_of_the_embedded_server_stops_it(
    data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    environment = for_child_process(
        DJANGO_SETTINGS_MODULE="settings.base", DATABASE_URL=None, DATA_DIR=str(data)
    )
    command = Process(
        ["manage.py", "shell", "--no-imports", "-c", SLEEP], environment, tmp_path / "command.log"
    )
    try:
        wait_for(lambda: "it runs" in command.text() or not command.running, what="the command")
        command.signal(number)

        assert command.wait() == 128 + number, command.text()
    finally:
        command.kill()
    assert command.text() == "it runs\n"
    assert not database_answers(project_server(data))


def test_a_reader_that_has_read_enough_is_no_traceback(process_environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        ended = subprocess.run(
            [sys.executable, "manage.py", "pool_plan"],
            cwd=PROJECT, env=process_environment, stdout=broken, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, b"")
