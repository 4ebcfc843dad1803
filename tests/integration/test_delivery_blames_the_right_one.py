"""Whose fault: the event's own failures are its own, wherever they show; the world's are nobody's and park nothing."""

import time
from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, transaction
from psycopg import errors as pg

from eventsource_app.subscriptions import ErrorCategory, SubscriptionConfig, checkpoints, letters, worker
from eventsource_app.subscriptions.registry import Subscription
from tests.integration.ledger import NAME, NEVER_AGAIN, QUICK, World, plain_parameters, query, run_sql
from tests.waiting import wait_for


def poison_in_the_middle(world: World, trap: Callable[[], object]) -> int:
    """Append ten accounts with this trap at the sixth; return its position."""
    streams = world.accounts(10)
    world.ledger.traps[streams[5].aggregate_id, 1] = trap
    return world.log()[5]


def assert_only_it_was_parked(world: World, position: int) -> None:
    assert [letter.position for letter in world.letters()] == [position]
    assert world.delivered() == [each for each in world.log() if each != position]


def test_a_deferred_constraint_that_fails_at_commit_belongs_to_its_event(world: World) -> None:
    run_sql("ALTER TABLE ledger_line ADD CONSTRAINT once UNIQUE (version) DEFERRABLE INITIALLY DEFERRED")
    streams = world.accounts(1)
    world.pay_in(streams[0], 3)  # versions 1 to 4
    (stranger,) = world.accounts(1)  # another version 1
    world.pay_in(streams[0], 1)  # version 5

    world.catch_up(**NEVER_AGAIN)

    assert [letter.aggregate_id for letter in world.letters()] == [stranger.aggregate_id]
    assert "once" in world.letter().error_message
    assert world.versions(streams[0]) == [1, 2, 3, 4, 5]


def test_a_swallowed_database_error_belongs_to_its_event(world: World) -> None:
    """The transaction is broken from then on, so the next statement fails, whoever makes it."""

    def swallow() -> None:
        try:
            run_sql("SELECT 1 / 0")
        except DatabaseError:
            return

    position = poison_in_the_middle(world, swallow)
    world.catch_up(**NEVER_AGAIN)
    assert_only_it_was_parked(world, position)


def test_a_rollback_by_a_handler_itself_belongs_to_its_event(world: World) -> None:
    """What the events before it wrote is gone as well, so the batch must not count as handled."""
    position = poison_in_the_middle(world, lambda: run_sql("ROLLBACK"))
    world.catch_up()
    assert_only_it_was_parked(world, position)
    letter = world.letter()
    assert (letter.state, letter.error_type.rpartition(".")[2]) == ("dead", "TransactionEndedError")
    assert "ROLLBACK of its own" in letter.error_message


def test_a_commit_by_a_handler_itself_belongs_to_its_event(world: World) -> None:
    """What the batch and its replay wrote cannot be taken back, but it is told, and no retry adds to it."""
    position = poison_in_the_middle(world, lambda: run_sql("COMMIT"))
    world.catch_up(batch_size=1)
    assert sorted(world.delivered()) == sorted([*world.log(), position])
    assert (world.letter().position, world.letter().state) == (position, "dead")


def test_a_block_that_a_handler_leaves_open_belongs_to_its_event(world: World) -> None:
    """The commit would be one of a savepoint in it, and the row would stay locked for as long as the worker lives."""
    position = poison_in_the_middle(world, lambda: transaction.atomic().__enter__())
    world.catch_up(**NEVER_AGAIN)
    assert_only_it_was_parked(world, position)
    assert "left a block of transaction.atomic() open" in world.letter().error_message


def test_blocks_that_a_handler_leaves_open_when_it_fails_do_not_stay_open(world: World) -> None:
    def fail() -> None:
        transaction.atomic().__enter__()
        transaction.atomic().__enter__()
        raise ValueError("poison")

    position = poison_in_the_middle(world, fail)
    world.catch_up(**NEVER_AGAIN)
    assert_only_it_was_parked(world, position)
    assert world.letter().error_message == "poison"


@pytest.mark.parametrize("end", ["ROLLBACK", "COMMIT"])
def test_a_retry_whose_handler_ends_the_transaction_itself_has_failed(world: World, end: str) -> None:
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(**NEVER_AGAIN)
    world.ledger.traps[stream.aggregate_id, 1] = lambda: run_sql(end)
    subscriptions = {NAME: Subscription(NAME, world.ledger, SubscriptionConfig(**QUICK))}

    result = letters.retry_letter(world.letter().pk, "ada", store=world.store, subscriptions=subscriptions)

    assert (result.outcome, world.letter().state) == ("failed", "dead")
    assert "COMMIT or ROLLBACK of its own" in (result.error or "")


def test_a_statement_that_times_out_belongs_to_its_event(world: World) -> None:
    def time_out() -> None:
        run_sql("SET LOCAL statement_timeout = '20ms'")
        run_sql("SELECT pg_sleep(60)")

    position = poison_in_the_middle(world, time_out)
    world.catch_up(**NEVER_AGAIN)
    assert_only_it_was_parked(world, position)
    assert (world.letter().category, world.letter().severity) == ("application", "high")


def test_a_session_that_idles_in_its_transaction_belongs_to_its_event(world: World) -> None:
    def idle() -> None:
        run_sql("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
        pid = query("SELECT pg_backend_pid()")[0][0]
        with psycopg.connect(**plain_parameters(), autocommit=True) as beside:
            wait_for(
                lambda: not beside.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone(),
                what="the server to end the session",
            )
        run_sql("SELECT 1")

    position = poison_in_the_middle(world, idle)
    world.catch_up(**NEVER_AGAIN)
    assert_only_it_was_parked(world, position)


def test_a_lock_held_elsewhere_parks_nothing_and_the_event_goes_through_later(world: World) -> None:
    run_sql("DROP TABLE IF EXISTS ledger_lock")
    run_sql("CREATE TABLE ledger_lock (n int)")

    def need_the_lock() -> None:
        run_sql("SET LOCAL lock_timeout = '20ms'")
        run_sql("LOCK TABLE ledger_lock")

    try:
        with psycopg.connect(**plain_parameters()) as holder:
            holder.execute("LOCK TABLE ledger_lock")
            poison_in_the_middle(world, need_the_lock)
            world.start(max_retries=100)
            wait_for(lambda: len(world.errors) >= 3, what="attempts")
            assert world.position() < world.log()[5]
            holder.rollback()
        world.wait_until_caught_up()
    finally:
        world.stop()
        run_sql("DROP TABLE ledger_lock")

    assert world.letters() == []
    assert world.delivered() == world.log()
    assert {error.classification.category for error in world.errors} == {ErrorCategory.TRANSIENT}


@pytest.mark.parametrize("cause", [pg.DeadlockDetected, pg.SerializationFailure, pg.AdminShutdown])
def test_a_fault_of_the_world_is_tried_again_and_parks_nothing(world: World, cause: type[Exception]) -> None:
    failures = 3

    def fail_three_times() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OperationalError("as Django wraps it") from cause("as the driver says it")

    poison_in_the_middle(world, fail_three_times)
    world.catch_up()
    assert failures == 0
    assert world.letters() == []
    assert world.delivered() == world.log()


def test_who_waits_for_the_world_keeps_its_partition_and_has_not_died(world: World) -> None:
    """Of two processes that take a partition from each other, each counts as a death of its event, and two make it dead."""
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, ConnectionError("refused"))
    waits_longer = {"initial_retry_delay": 0.8, "max_retry_delay": 0.8, "max_retries": 1000}
    for _ in range(2):
        manager = world.manager(lease_seconds=0.3)
        manager.subscribe(world.ledger, SubscriptionConfig(**{**QUICK, **waits_longer}), name=NAME)
        manager.start()

    wait_for(lambda: len(world.ledger.attempts) >= 5, what="some more attempts than deaths would be")
    row = world.checkpoint()
    assert (row.epoch, row.unclean_takeover_count, world.letters()) == (1, 0, [])
    world.ledger.is_fixed()
    world.wait_until_caught_up()
    world.assert_each_once()


def test_what_takes_longer_than_the_lease_to_fail_does_not_cost_the_partition(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    (stream,) = world.accounts(1)

    def time_out() -> None:
        time.sleep(2.5)
        raise ConnectionError("timed out")

    world.ledger.traps[stream.aggregate_id, 1] = time_out
    manager = world.manager(lease_seconds=2.4)
    waits_shortly = {"initial_retry_delay": 0.8, "max_retry_delay": 0.8}
    manager.subscribe(world.ledger, SubscriptionConfig(**{**QUICK, **waits_shortly}), name=NAME)
    manager.start()
    wait_for(lambda: "Subscription waits for the database" in caplog.messages)
    wait_for(lambda: checkpoints.find("default", [NAME])[0].leased, 0.5, what="the lease, in the pause")
    world.ledger.is_fixed()


def test_dead_letters_that_are_to_wait_long_do_not_make_a_partition_wait_long_for_the_world(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert worker.LONGEST_OUTAGE_PAUSE_SECONDS == 60
    monkeypatch.setattr(worker, "LONGEST_OUTAGE_PAUSE_SECONDS", 0.1)

    def fail_once() -> None:
        world.ledger.is_fixed()
        raise OperationalError("as Django wraps it") from pg.AdminShutdown("a restart")

    poison_in_the_middle(world, fail_once)
    world.catch_up(**NEVER_AGAIN)
    assert world.delivered() == world.log()


def test_a_fault_of_the_world_that_only_ever_meets_one_event_is_its_own_in_the_end(world: World) -> None:
    def fail() -> None:
        raise OperationalError("always here") from pg.DeadlockDetected("always here")

    position = poison_in_the_middle(world, fail)
    world.start(max_retries=2)
    world.wait_until_caught_up()
    wait_for(lambda: world.letters() != [], what="the letter")
    assert_only_it_was_parked(world, position)


def test_an_event_that_fails_in_a_batch_and_passes_alone_is_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 1

    def fail_once() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ValueError("only once")

    poison_in_the_middle(world, fail_once)
    world.catch_up()

    assert world.letters() == []
    assert world.errors == []
    assert world.delivered() == world.log()
    assert "Batch failed, replayed one event at a time" in caplog.text
