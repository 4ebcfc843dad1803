"""Workers stop, die, take over and go on: real processes, real signals, and nothing lost or doubled."""

import signal
import time
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import Manage
from tests.acceptance.judge import (
    assert_read_models_tell_the_log,
    is_caught_up,
    last_position,
    positions,
    processed,
)
from tests.acceptance.log_filler import fill
from tests.acceptance.processes import Process, logged_at
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
Database = psycopg.Connection[Any]

STOP_SECONDS = 2.0  # promised: a graceful stop during catch-up
LEASE_SECONDS = 10.0  # promised: a dead worker's partitions are taken over within the lease
HANDOVER_SECONDS = 1.0  # promised: "about a second" after a graceful stop
SHARED_MACHINE_SECONDS = 2.0  # what a loaded machine may add to any of these
EXIT_SECONDS = 5.0  # for the interpreter to go, which nobody promised


def wait_until_under_way(database: Database, worker: Process) -> None:
    """Return when both subscriptions have committed batches and neither is near the end."""
    wait_for(
        lambda: min(positions(database).values(), default=0) > 1_000 or not worker.running,
        what="first batches",
    )
    assert worker.running, worker.text()


def is_well_beyond(database: Database, before: dict[str, int]) -> bool:
    return min((at - before.get(name, 0) for name, at in positions(database).items()), default=0) > 1_000


def drain(manage: Manage) -> None:
    """The next start: goes on until all is handled, and says so by its exit status."""
    worker = manage("run_subscriptions", "--until-caught-up")
    assert worker.wait(180) == 0, worker.text()


def assert_exactly_once(database: Database, events: int) -> None:
    """Each event counted once by whoever asked for it (``customers`` asks for created and cancelled)."""
    assert_read_models_tell_the_log(database)
    assert processed(database) == {"orders": events, "customers": events * 5 // 8}
    assert is_caught_up(database)


def no_lease_is_held(database: Database) -> bool:
    row = database.execute("SELECT count(owner) FROM eventsource_app_checkpoint").fetchone()
    return row is not None and row[0] == 0


def test_sigterm_in_a_catch_up_stops_within_two_seconds_and_the_next_start_goes_on(
    manage: Manage, database: Database
) -> None:
    fill(database, 100_000)
    worker = manage("run_subscriptions")
    wait_until_under_way(database, worker)

    asked_at = worker.signal(signal.SIGTERM)

    assert worker.wait(STOP_SECONDS + SHARED_MACHINE_SECONDS + EXIT_SECONDS) == 0, worker.text()
    (complete,) = worker.logs("Shutdown complete")
    assert logged_at(complete) - asked_at <= STOP_SECONDS + SHARED_MACHINE_SECONDS
    assert complete["duration_seconds"] <= STOP_SECONDS
    assert (complete["phase"], complete["reason"], complete["forced"]) == ("stopped", "SIGTERM", False)
    assert complete["checkpoints_saved"] == 2
    assert max(positions(database).values()) < last_position(database), "it was to be stopped in the middle"
    assert no_lease_is_held(database), "a graceful stop gives the leases back"

    drain(manage)
    assert_exactly_once(database, 100_000)


def test_sigkill_in_a_catch_up_loses_nothing_and_doubles_nothing(manage: Manage, database: Database) -> None:
    fill(database, 60_000)
    for _ in range(2):
        worker = manage("run_subscriptions")
        before = positions(database)
        wait_for(partial(is_well_beyond, database, before), what="progress")
        assert worker.signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        assert max(positions(database).values()) < last_position(database), (
            "it was to be killed in the middle"
        )

    drain(manage)
    assert_exactly_once(database, 60_000)


def two_workers(manage: Manage, database: Database) -> tuple[Process, Process]:
    """Start two workers, one after the other; return them when each owns one of the two subscriptions."""
    first = manage("run_subscriptions")
    first.wait_for_log("Lease taken", count=2)
    second = manage("run_subscriptions")
    wait_for(lambda: len(owners(database)) == 2, what="a fair share for each")
    return first, second


def owners(database: Database) -> set[str]:
    return {
        row[0]
        for row in database.execute("SELECT owner FROM eventsource_app_checkpoint WHERE owner IS NOT NULL")
    }


def taken_after(worker: Process, moment: float, database: Database) -> float:
    """Return when it took over the other's partition, which must have been in the middle of the log."""
    wait_for(lambda: any(logged_at(line) > moment for line in worker.logs("Lease taken")), what="a takeover")
    (line,) = [line for line in worker.logs("Lease taken") if logged_at(line) > moment]
    assert 1_000 < line["position"] < last_position(database), "it was to be in the middle"
    return logged_at(line)


def test_two_workers_double_nothing_and_a_graceful_stop_hands_over_at_once(
    manage: Manage, database: Database
) -> None:
    first, second = two_workers(manage, database)
    fill(database, 60_000)
    wait_until_under_way(database, first)

    asked_at = first.signal(signal.SIGTERM)

    assert first.wait() == 0
    (complete,) = first.logs("Shutdown complete")
    taken_at = taken_after(second, asked_at, database)
    assert taken_at - logged_at(complete) <= HANDOVER_SECONDS + SHARED_MACHINE_SECONDS
    wait_for(lambda: is_caught_up(database))
    assert_exactly_once(database, 60_000)


def test_a_killed_workers_partitions_are_taken_over_within_the_lease(
    manage: Manage, database: Database
) -> None:
    first, second = two_workers(manage, database)
    fill(database, 60_000)
    wait_until_under_way(database, first)

    killed_at = first.signal(signal.SIGKILL)

    taken_at = taken_after(second, killed_at, database)
    assert taken_at - killed_at <= LEASE_SECONDS + SHARED_MACHINE_SECONDS
    wait_for(lambda: is_caught_up(database))
    assert_exactly_once(database, 60_000)


def test_polling_alone_is_enough(manage: Manage, database: Database) -> None:
    worker = manage("run_subscriptions", DJANGO_SETTINGS_MODULE="tests.acceptance.polling_settings")
    worker.wait_for_log("Lease taken", count=2)
    for _ in range(3):
        fill(database, 200)
        wait_for(lambda: is_caught_up(database))

    listening = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    ).fetchone()
    assert listening == (0,)
    assert_exactly_once(database, 600)


def test_until_caught_up_handles_what_is_there_and_exits(manage: Manage, database: Database) -> None:
    fill(database, 2_000)
    drain(manage)
    assert_exactly_once(database, 2_000)
    drain(manage)  # nothing to do is done at once
    assert_exactly_once(database, 2_000)


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_until_caught_up_fails_when_a_subscription_cannot_go_on(
    manage: Manage, database: Database, state: str
) -> None:
    drain(manage)
    database.execute(
        "UPDATE eventsource_app_checkpoint SET state = %s WHERE subscription = 'orders'", (state,)
    )
    fill(database, 200)

    worker = manage("run_subscriptions", "--until-caught-up")

    assert worker.wait() == 1, worker.text()
    sentence = (
        f"orders is {state} while events wait for it; to go on, run `manage.py resume_subscription orders`."
    )
    assert [line["reason"] for line in worker.logs("Shutdown complete")] == [sentence]
    assert sentence in worker.text().splitlines()[-1]
    assert "subscription_status" in worker.text().splitlines()[-1]
    assert "Traceback" not in worker.text()
    assert processed(database) == {"orders": 0, "customers": 125}


def test_a_paused_subscription_that_has_nothing_waiting_is_caught_up(
    manage: Manage, database: Database
) -> None:
    fill(database, 200)
    drain(manage)
    assert manage("pause_subscription", "orders").wait() == 0

    worker = manage("run_subscriptions", "--until-caught-up")

    assert worker.wait() == 0, worker.text()
    assert [line["reason"] for line in worker.logs("Shutdown complete")] == ["caught up"]


def test_only_the_named_subscriptions_run(manage: Manage, database: Database) -> None:
    fill(database, 200)
    worker = manage("run_subscriptions", "customers", "--until-caught-up")
    assert worker.wait() == 0, worker.text()
    assert processed(database) == {"customers": 125}


def test_an_unknown_name_is_a_usage_error(manage: Manage) -> None:
    worker = manage("run_subscriptions", "ordesr")
    assert worker.wait() == 2, worker.text()
    assert "There is no subscription ordesr; declared are: customers, orders." in worker.text()


def test_a_second_signal_a_second_later_forces_the_end_of_a_handler_that_hangs(
    manage: Manage, database: Database
) -> None:
    fill(database, 2)
    worker = manage(
        "run_subscriptions", "hanging", DJANGO_SETTINGS_MODULE="tests.acceptance.hanging_settings"
    )
    worker.wait_for_log("Handler hangs")

    first_at = worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGTERM)  # within a second: the same request, as a terminal and a supervisor send it
    wait_for(lambda: time.time() > first_at + 1.2)
    assert worker.running, "two signals within a second are one request"
    worker.signal(signal.SIGTERM)

    assert worker.wait() == 128 + signal.SIGTERM, worker.text()
    assert processed(database) == {"hanging": 0}


def test_a_handler_that_hangs_does_not_outlive_the_shutdown_timeout(
    manage: Manage, database: Database
) -> None:
    fill(database, 2)
    worker = manage(
        "run_subscriptions", "hanging", "--shutdown-timeout", "1", "--drain-timeout", "0.5",
        DJANGO_SETTINGS_MODULE="tests.acceptance.hanging_settings",
    )  # fmt: skip
    worker.wait_for_log("Handler hangs")

    worker.signal(signal.SIGINT)

    assert worker.wait() == 128 + signal.SIGINT, worker.text()
    (complete,) = worker.logs("Shutdown complete")
    assert (complete["phase"], complete["forced"], complete["checkpoints_saved"]) == ("forced", True, 0)
    assert processed(database) == {"hanging": 0}
