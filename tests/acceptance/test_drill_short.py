"""The disaster drill's short form: back up, destroy, restore to a point in time (``make drill`` is the long one)."""

import signal
from pathlib import Path

import pytest

from settings.env import for_child_process
from tests.acceptance.processes import Process

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
PATIENCE_SECONDS = 240.0


def test_a_destroyed_server_comes_back_as_it_was_at_a_point_in_time(tmp_path: Path) -> None:
    environment = for_child_process(TEST_DATABASE_URL=None, DATABASE_URL=None, PYTEST_CURRENT_TEST=None)
    drill = Process(["-m", "tests.drill", "--orders", "60"], environment, tmp_path / "drill.log")
    try:
        status = drill.wait(PATIENCE_SECONDS)
    finally:
        if drill.running:
            drill.signal(signal.SIGINT)  # it stops its own processes and its server
            drill.wait(PATIENCE_SECONDS)
    assert status == 0, drill.text()
    assert "nothing missing, nothing too late, every read model as the log says" in drill.text()
