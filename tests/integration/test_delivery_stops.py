"""Stopping: promptly, without blaming an event for it, and with figures that are true."""

import threading

import pytest
from django.db import transaction

from eventsource_app.subscriptions import ShutdownPhase, SubscriptionConfig, SubscriptionManager
from tests.integration.ledger import NAME, QUICK, Gate, Ledger, World, in_background, query, run_sql
from tests.waiting import wait_for

HANGS = "SELECT pg_sleep(60)"


def a_manager(world: World, **config: object) -> SubscriptionManager:
    """One that waits a moment for its batches, and then cancels what they wait for."""
    manager = SubscriptionManager(event_store=world.store, shutdown_timeout=20, drain_timeout=0.2)
    manager.on_error(world.errors.append)
    world.managers.append(manager)
    manager.subscribe(world.ledger, SubscriptionConfig(**{**QUICK, **config}), name=NAME)
    return manager


def wait_until_it_hangs() -> None:
    asleep = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    )
    wait_for(lambda: query(asleep) == [(1,)], what="a handler that hangs")


@pytest.mark.parametrize("alone", [False, True])
def test_a_statement_that_the_stop_cancels_is_not_held_against_its_event(world: World, alone: bool) -> None:
    (stream,) = world.accounts(1)
    world.ledger.traps[stream.aggregate_id, 1] = lambda: run_sql(HANGS)
    manager = a_manager(world, continue_on_error=False)
    if alone:  # where processes have died, each event is tried alone
        manager.start()
        wait_until_it_hangs()
        manager.stop()
        run_sql(
            "UPDATE eventsource_app_checkpoint SET owner = 'dead', lease_expires_at = now(), unclean_takeover_count = 1"
        )
    manager.start()
    wait_until_it_hangs()

    result = manager.stop()

    assert (result.phase, result.forced, result.events_in_flight) == (ShutdownPhase.STOPPED, False, 1)
    assert result.checkpoints_saved == 1
    assert world.errors == []
    assert (world.checkpoint().state, world.checkpoint().events_failed) == ("running", 0)
    world.ledger.is_fixed()
    world.catch_up()
    world.assert_each_once()


def test_a_retry_that_the_stop_cancels_is_no_failed_retry(world: World) -> None:
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(initial_retry_delay=3600, max_retry_delay=3600)
    world.errors.clear()
    world.ledger.traps[stream.aggregate_id, 1] = lambda: run_sql(HANGS)
    run_sql("UPDATE eventsource_app_deadletter SET next_retry_at = now()")
    manager = a_manager(world)
    manager.start()
    wait_until_it_hangs()
    assert world.letter().state == "retrying", "everybody can see that it is being tried"

    manager.stop()

    letter = world.letter()
    assert (letter.state, letter.retry_count, letter.tried_position, world.errors) == ("parked", 0, None, [])


def test_the_figures_of_a_stop_are_true(world: World) -> None:
    """What a batch has done by the time it ends is not in flight any more; what was read behind it is."""
    streams = world.accounts(12)
    with Gate() as gate:
        world.ledger.traps[streams[2].aggregate_id, 1] = gate
        manager = world.manager()
        manager.subscribe(world.ledger, SubscriptionConfig(**{**QUICK, "batch_size": 4}), name=NAME)
        manager.start()
        gate.wait_until_reached()
        results = []
        stopping = in_background(lambda: results.append(manager.stop("enough")))
        wait_for(lambda: manager.shutdown_phase is ShutdownPhase.DRAINING)
        assert manager.is_shutting_down
        gate.open()
        stopping.join()
    (result,) = results
    handled = len(world.delivered())
    assert (result.reason, result.forced, result.phase) == ("enough", False, ShutdownPhase.STOPPED)
    assert (result.events_in_flight, result.checkpoints_saved) == (12 - handled, 1)
    assert 0 < handled < 12
    assert world.checkpoint().owner is None


def test_a_handler_that_does_not_come_back_makes_the_stop_forced(world: World) -> None:
    streams = world.accounts(3)
    with Gate() as gate:
        world.ledger.traps[streams[1].aggregate_id, 1] = gate
        manager = SubscriptionManager(event_store=world.store, shutdown_timeout=0.3, drain_timeout=0.1)
        manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)
        manager.start()
        gate.wait_until_reached()

        result = manager.stop()

        assert (result.phase, result.forced) == (ShutdownPhase.FORCED, True)
        assert (result.events_in_flight, result.checkpoints_saved) == (3, 0)
        assert manager.shutdown_phase is ShutdownPhase.FORCED


def test_a_request_from_another_thread_ends_run_until_shutdown(world: World) -> None:
    world.accounts(2)
    manager = world.manager()
    manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)
    results = []
    running = in_background(lambda: results.append(manager.run_until_shutdown()))
    world.wait_until_caught_up()

    threading.Thread(target=manager.request_shutdown).start()

    running.join()
    assert [(result.reason, result.phase) for result in results] == [("requested", ShutdownPhase.STOPPED)]


def test_a_request_that_comes_before_the_start_is_not_lost(world: World) -> None:
    manager = world.manager()
    manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)
    manager.request_shutdown("too late to begin")
    assert manager.run_until_shutdown().reason == "too late to begin"


def test_a_manager_that_was_stopped_may_be_started_again(world: World) -> None:
    manager = world.start()
    manager.stop()
    world.accounts(2)
    manager.start()
    world.wait_until_caught_up()
    assert not manager.is_shutting_down
    assert manager.stop().phase is ShutdownPhase.STOPPED
    world.assert_each_once()


def test_a_stop_without_a_start_is_no_error(world: World) -> None:
    result = world.manager().stop()
    assert (result.phase, result.forced, result.events_in_flight, result.checkpoints_saved) == (
        ShutdownPhase.STOPPED, False, 0, 0,
    )  # fmt: skip


def test_a_stop_inside_the_callers_transaction_leaves_it_to_the_caller(world: World) -> None:
    manager = world.start()
    with transaction.atomic():
        run_sql("CREATE TABLE of_the_caller ()")
        manager.stop()
    run_sql("DROP TABLE of_the_caller")


def test_unsubscribe_returns_when_the_batch_that_runs_has_ended(world: World) -> None:
    streams = world.accounts(3)
    with Gate() as gate:
        world.ledger.traps[streams[1].aggregate_id, 1] = gate
        manager = world.start()
        gate.wait_until_reached()
        leaving = in_background(lambda: manager.unsubscribe(NAME))
        gate.open()
        leaving.join()
        attempts = len(world.ledger.attempts)
    assert world.checkpoint().owner is None
    world.accounts(2)
    another = world.manager()
    another.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=NAME)
    another.start()
    world.wait_until_caught_up()
    assert len(world.ledger.attempts) == attempts
    world.assert_each_once()
