"""A signal while `run_subscriptions` is still being imported is what it is later: the first graceful, another one forced."""

import signal
from pathlib import Path

import psycopg
import pytest

from settings.local_postgres import PROJECT
from tests.acceptance.conftest import Manage

pytestmark = [pytest.mark.acceptance]
HOOK = Path(__file__).with_name("early_signal")
BEFORE_DJANGO, BEFORE_THE_COMMAND = "django", "eventsource_app.management.commands.run_subscriptions"


def signals(*names: str, at: str) -> dict[str, str]:
    """The environment in which a process gets these signals as it begins to import that module."""
    return {"PYTHONPATH": f"{HOOK}:{PROJECT}", "SIGNAL_AT": at, "SIGNALS": " ".join(names)}


@pytest.mark.parametrize("at", [BEFORE_DJANGO, BEFORE_THE_COMMAND])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_is_a_clean_stop(
    manage: Manage, database: psycopg.Connection[tuple[object, ...]], name: str, at: str
) -> None:
    worker = manage("run_subscriptions", **signals(name, at=at))

    assert worker.wait() == 0, worker.text()
    (complete,) = worker.logs("Shutdown complete")
    assert (complete["reason"], complete["forced"]) == (name, False)
    assert worker.logs("Subscriptions started") == [], "it was to end before it began"
    assert "Traceback" not in worker.text()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_several_processes_are_not_even_started(manage: Manage, name: str) -> None:
    supervisor = manage("run_subscriptions", "--processes", "2", **signals(name, at=BEFORE_DJANGO))

    assert supervisor.wait() == 0, supervisor.text()
    (stopped,) = supervisor.logs("Worker processes stopped")
    assert (stopped["reason"], stopped["exit_status"]) == (name, 0)
    assert supervisor.logs("Shutdown complete") == []
    assert "Traceback" not in supervisor.text()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_second_one_ends_it_at_once(manage: Manage, name: str) -> None:
    worker = manage("run_subscriptions", **signals("SIGTERM", name, at=BEFORE_DJANGO))

    assert worker.wait() == 128 + signal.Signals[name], worker.text()
    assert worker.text() == ""


def test_other_commands_keep_pythons_signals(manage: Manage) -> None:
    command = manage("subscription_status", **signals("SIGTERM", at=BEFORE_DJANGO))

    assert command.wait() == -signal.SIGTERM, command.text()
