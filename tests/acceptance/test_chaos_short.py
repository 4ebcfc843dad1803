"""The campaign's short form: seconds of kills, restarts and poison, and a judge who counts for himself (``make chaos`` is the long one)."""

import signal
from pathlib import Path

import pytest

from settings.env import for_child_process
from tests.acceptance.processes import Process

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
SECONDS, SEED = 12, 20
PATIENCE_SECONDS = 240.0


def test_nothing_is_lost_doubled_or_reordered_while_everything_breaks(tmp_path: Path) -> None:
    environment = for_child_process(TEST_DATABASE_URL=None, DATABASE_URL=None, PYTEST_CURRENT_TEST=None)
    command = ["-m", "tests.chaos", "--seconds", str(SECONDS), "--seed", str(SEED)]
    campaign = Process(command, environment, tmp_path / "campaign.log")
    try:
        status = campaign.wait(PATIENCE_SECONDS)
    finally:
        if campaign.running:
            campaign.signal(signal.SIGINT)  # it stops its own processes and its server
            campaign.wait(PATIENCE_SECONDS)
    assert status == 0, campaign.text()
    assert "Nothing lost, nothing doubled, order kept, every failure accounted for." in campaign.text()
