"""In development a worker starts anew when its code changes: gracefully, in the same process, and only when it can be loaded."""

import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import Manage

pytestmark = [pytest.mark.acceptance]
SETTINGS = "from settings.base import *\nDEBUG = {debug}\n"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A settings module that may be changed."""
    file = tmp_path / "changing_settings.py"
    file.write_text(SETTINGS.format(debug=True))
    return file


def test_a_change_starts_it_anew_and_a_mistake_does_not(manage: Manage, code: Path) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": code.stem, "PYTHONPATH": str(code.parent)}
    worker = manage("run_subscriptions", **environment)
    worker.wait_for_log("Lease taken", count=2)

    code.write_text(SETTINGS.format(debug=True) + "# changed\n")
    worker.wait_for_log("Subscriptions started", count=2)
    (stopped,) = worker.logs("Shutdown complete")
    assert (stopped["reason"], stopped["forced"], stopped["checkpoints_saved"]) == ("code changed", False, 2)

    worker.wait_for_log("Lease taken", count=4)
    code.write_text("import nothing_of_this_name\n")
    (refused,) = worker.wait_for_log("Code cannot be loaded, waiting for the next change")
    assert "nothing_of_this_name" in refused["error_message"]

    code.write_text(SETTINGS.format(debug=False))
    worker.wait_for_log("Subscriptions started", count=3)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_waits_for_the_mistake_to_be_mended_is_a_clean_stop(
    manage: Manage, code: Path, number: signal.Signals
) -> None:
    worker = manage("run_subscriptions", DJANGO_SETTINGS_MODULE=code.stem, PYTHONPATH=str(code.parent))
    worker.wait_for_log("Lease taken", count=2)
    code.write_text("import nothing_of_this_name\n")
    worker.wait_for_log("Code cannot be loaded, waiting for the next change")

    worker.signal(number)

    assert worker.wait() == 0, worker.text()
    assert "Traceback" not in worker.text()


def test_it_can_be_turned_off(manage: Manage, code: Path) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": code.stem, "PYTHONPATH": str(code.parent)}
    worker = manage("run_subscriptions", "--no-reload", **environment)
    worker.wait_for_log("Subscriptions started")

    threads = {
        thread.joinpath("comm").read_text().strip() for thread in Path(f"/proc/{worker.pid}/task").iterdir()
    }
    assert threads
    assert "autoreload" not in threads
