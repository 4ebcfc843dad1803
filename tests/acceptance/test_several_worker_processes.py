"""`run_subscriptions --processes N`: real processes that are kept running, share the work, and end together."""

import os
import re
import signal
import time
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import Manage
from tests.acceptance.judge import assert_read_models_tell_the_log, is_caught_up, processed
from tests.acceptance.log_filler import fill
from tests.acceptance.processes import Process, children_of, lives
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
Database = psycopg.Connection[Any]
HANGING = {"DJANGO_SETTINGS_MODULE": "tests.acceptance.hanging_settings"}


def owners(database: Database) -> set[int]:
    """The pids of the processes that own a partition."""
    rows = database.execute("SELECT owner FROM eventsource_app_checkpoint WHERE owner IS NOT NULL")
    return {int(re.findall(r"-(\d+)-[0-9a-f]+$", row[0])[0]) for row in rows}


def two_processes(manage: Manage, database: Database, *options: str, **environment: str) -> Process:
    """Return the supervisor when its two processes own one subscription each."""
    supervisor = manage("run_subscriptions", "--processes", "2", *options, **environment)
    wait_for(lambda: len(owners(database)) == 2 or not supervisor.running, what="a fair share for each")
    assert owners(database) == set(children_of(supervisor.pid))
    return supervisor


def all_are_gone(pids: set[int]) -> bool:
    return not any(lives(pid) for pid in pids)


def test_a_process_that_is_killed_is_started_again_and_a_signal_stops_all(
    manage: Manage, database: Database
) -> None:
    supervisor = two_processes(manage, database)
    first, second = children_of(supervisor.pid)

    os.kill(first, signal.SIGKILL)

    (died,) = supervisor.wait_for_log("Worker process died")
    assert (died["level"], died["exit_status"]) == ("ERROR", -signal.SIGKILL)
    assert "started again in 0.5 s" in died["error_message"]
    wait_for(lambda: len(children_of(supervisor.pid)) == 2, what="another process")
    wait_for(lambda: owners(database) == set(children_of(supervisor.pid)), what="a fair share for each again")
    fill(database, 400)
    wait_for(lambda: is_caught_up(database), what="the log's end")
    children = set(children_of(supervisor.pid))
    assert second in children
    assert first not in children

    supervisor.signal(signal.SIGTERM)

    assert supervisor.wait() == 0, supervisor.text()
    assert all_are_gone(children)
    assert len(supervisor.logs("Shutdown complete", reason="SIGTERM", forced=False)) == 2
    assert owners(database) == set()
    assert_read_models_tell_the_log(database)


def test_a_second_signal_ends_them_at_once(manage: Manage, database: Database) -> None:
    fill(database, 2)
    supervisor = manage("run_subscriptions", "hanging", "--processes", "2", **HANGING)
    supervisor.wait_for_log("Handler hangs")
    children = set(children_of(supervisor.pid))

    first_at = supervisor.signal(signal.SIGINT)
    wait_for(lambda: time.time() > first_at + 1.2)
    assert supervisor.running, "a handler hangs, so the graceful stop waits"
    supervisor.signal(signal.SIGINT)

    assert supervisor.wait() == 128 + signal.SIGINT, supervisor.text()
    assert all_are_gone(children)


def test_a_supervisor_that_is_killed_leaves_no_process_behind(manage: Manage, database: Database) -> None:
    supervisor = two_processes(manage, database)
    children = set(children_of(supervisor.pid))

    supervisor.signal(signal.SIGKILL)

    assert supervisor.wait() == -signal.SIGKILL
    wait_for(lambda: all_are_gone(children), what="the end of its processes")
    wait_for(lambda: owners(database) == set(), what="a graceful end of them")


def test_they_share_a_catch_up_and_end_when_it_is_done(manage: Manage, database: Database) -> None:
    fill(database, 4_000)

    supervisor = manage("run_subscriptions", "--processes", "2", "--until-caught-up")

    assert supervisor.wait() == 0, supervisor.text()
    assert_read_models_tell_the_log(database)
    assert processed(database) == {"orders": 4_000, "customers": 2_500}


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_a_catch_up_that_cannot_be_finished_fails_and_is_not_tried_for_ever(
    manage: Manage, database: Database, state: str
) -> None:
    assert manage("run_subscriptions", "--until-caught-up").wait() == 0
    database.execute(
        "UPDATE eventsource_app_checkpoint SET state = %s WHERE subscription = 'orders'", (state,)
    )
    fill(database, 200)

    supervisor = manage("run_subscriptions", "--processes", "2", "--until-caught-up")

    assert supervisor.wait() == 1, supervisor.text()
    assert "run `manage.py resume_subscription orders`" in supervisor.text()
    assert supervisor.logs("Shutdown complete", reason="caught up") == []
    assert processed(database) == {"orders": 0, "customers": 125}


def test_a_signal_while_they_are_being_started_is_a_clean_stop(manage: Manage, database: Database) -> None:
    supervisor = manage("run_subscriptions", "--processes", "2")
    wait_for(lambda: len(children_of(supervisor.pid)) == 2, what="two processes that do not listen yet")
    children = set(children_of(supervisor.pid))

    supervisor.signal(signal.SIGTERM)

    assert supervisor.wait() == 0, supervisor.text()
    assert all_are_gone(children)
