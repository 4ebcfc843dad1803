"""Events that kill or hang their worker: found, parked, told of; everything else goes on. Real processes."""

import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventsource_app.subscriptions.careful import DEATHS_TO_PARK
from eventsource_app.subscriptions.heartbeats import BEAT_SECONDS
from tests.acceptance.conftest import Manage
from tests.acceptance.judge import processed
from tests.acceptance.log_filler import fill
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
Database = psycopg.Connection[Any]
DEADLY = {"DJANGO_SETTINGS_MODULE": "tests.acceptance.deadly_settings"}
DEATHS = 4  # two before events are tried alone, two of the event that is then marked


def test_an_event_that_kills_its_process_again_and_again_is_parked_and_the_others_are_handled(
    manage: Manage, database: Database
) -> None:
    fill(database, 100)

    for _death in range(DEATHS):
        worker = manage("run_subscriptions", "killed", **DEADLY)
        assert worker.wait() == -signal.SIGKILL, worker.text()
    survivor = manage("run_subscriptions", "killed", "--until-caught-up", **DEADLY)

    assert survivor.wait() == 0, survivor.text()
    letters = database.execute(
        "SELECT state, error_type, severity, next_retry_at FROM eventsource_app_deadletter"
    ).fetchall()
    assert [(state, error.rpartition(".")[2], severity, due) for state, error, severity, due in letters] == [
        ("dead", "ProcessKillerError", "critical", None)
    ]
    assert processed(database) == {"killed": 49}


def deadly_workers_and_a_survivor(manage: Manage, database: Database, name: str) -> None:
    """Workers die of a retry until they are not made to any more; the last one goes on, and stops as it should."""
    for _death in range(DEATHS_TO_PARK):
        worker = manage("run_subscriptions", name, **DEADLY)
        assert worker.wait() == -signal.SIGKILL, worker.text()
    survivor = manage("run_subscriptions", name, **DEADLY)
    wait_for(
        lambda: "dead" in [row[0] for row in letters(database)] or not survivor.running, what="a dead letter"
    )
    survivor.signal(signal.SIGTERM)
    assert survivor.wait() == 0, survivor.text()


def letters(database: Database) -> list[tuple[str, str, str]]:
    """State, event type and the last part of the error's type of each letter, in the log's order."""
    rows = database.execute(
        "SELECT state, event_type, error_type FROM eventsource_app_deadletter ORDER BY position"
    )
    return [(state, event_type, error.rpartition(".")[2]) for state, event_type, error in rows]


def test_an_event_that_kills_its_process_when_it_is_retried_is_not_retried_for_ever(
    manage: Manage, database: Database
) -> None:
    fill(database, 100)

    deadly_workers_and_a_survivor(manage, database, "killed-again")

    assert letters(database) == [("dead", "OrderCreated", "ProcessKillerError")]
    assert processed(database) == {"killed-again": 49}


def test_an_event_that_waits_behind_a_dead_letter_and_kills_its_process_becomes_one_itself(
    manage: Manage, database: Database
) -> None:
    fill(database, 100)

    deadly_workers_and_a_survivor(manage, database, "killed-behind")

    assert letters(database) == [
        ("resolved", "OrderCreated", "ValueError"),
        ("dead", "OrderShipped", "ProcessKillerError"),
    ]
    shipped = database.execute(
        "SELECT count(*) FROM eventsource_app_event WHERE event_type = 'OrderShipped'"
    ).fetchone()
    assert shipped is not None
    assert processed(database) == {"killed-behind": 50 + shipped[0] - 1}


def test_a_handler_that_never_comes_back_makes_its_process_not_alive_and_restarts_find_its_event(
    manage: Manage, database: Database, port: int, tmp_path: Path
) -> None:
    fill(database, 100)  # one order of cust-1
    heart = tmp_path / "heartbeat"
    for _restart in range(DEATHS):
        worker = manage(
            "run_subscriptions", "stuck", "--probe-port", str(port), "--heartbeat-file", str(heart), **DEADLY
        )
        wait_for(lambda: status_of(port) == 200, what="alive at first")

        wait_for(lambda: status_of(port) == 503, what="not alive once the handler hangs")
        wait_for(
            lambda: time.time() - heart.stat().st_mtime > 3 * BEAT_SECONDS, what="a heart that stands still"
        )

        (told,) = worker.wait_for_log("CRITICAL ERROR in stuck")
        assert "has not come back" in told["error_message"]
        assert told["event_type"] == "OrderCreated"
        worker.signal(signal.SIGKILL)  # as a kubelet does in the end
        worker.wait()
    survivor = manage("run_subscriptions", "stuck", "--until-caught-up", **DEADLY)

    assert survivor.wait() == 0, survivor.text()
    assert letters(database) == [("dead", "OrderCreated", "ProcessKillerError")]


def status_of(port: int) -> int | None:
    """The status of /health/live; None before the port answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5) as response:
            assert json.load(response)["alive"] is True
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
