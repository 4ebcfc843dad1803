"""A poison event costs one event: its aggregate waits behind it in order, everybody else goes on, nothing is lost."""

from asyncio import CancelledError
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone

from eventsource_app.models import Checkpoint, DeadLetter
from eventsource_app.subscriptions import ErrorCategory, ErrorSeverity, PermanentError, Projection
from eventsource_app.subscriptions.rebuilding import reset_checkpoint
from tests.builders import ACCOUNT, a_stream
from tests.integration.ledger import NAME, NEVER_AGAIN, BatchLedger, World, query, run_sql
from tests.waiting import wait_for


@pytest.mark.parametrize("in_batches", [False, True])
def test_one_poison_event_in_a_hundred_costs_one(world: World, in_batches: bool) -> None:
    streams = world.accounts(100)
    world.ledger.fails_at(streams[41], 1, ValueError("no such currency\nDETAIL:  Mrs Smith"))
    projection: Projection = world.ledger
    if in_batches:
        projection = BatchLedger()
        projection.ledger = world.ledger

    world.catch_up(projection, **NEVER_AGAIN)

    log = world.log()
    assert world.delivered() == [position for position in log if position != log[41]]
    letter = world.letter()
    assert (letter.subscription, letter.position, letter.event_type) == (NAME, log[41], "MoneyPaidIn")
    assert (letter.aggregate_type, letter.aggregate_id) == (ACCOUNT, streams[41].aggregate_id)
    assert (letter.state, letter.category, letter.severity) == ("parked", "application", "medium")
    assert (letter.error_type, letter.error_message) == ("builtins.ValueError", "no such currency")
    assert "in write_a_line" in letter.traceback
    assert letter.retry_count == 0
    assert letter.next_retry_at is not None
    checkpoint = world.checkpoint()
    assert checkpoint.position >= log[-1]
    assert (checkpoint.events_processed, checkpoint.events_failed) == (99, 1)
    assert checkpoint.last_error == "no such currency"
    (error,) = world.errors
    assert (error.position, error.retry_count) == (log[41], 0)


def test_a_handler_that_fails_after_writing_leaves_no_trace(world: World) -> None:
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, KeyError("after the write"))

    world.catch_up(**NEVER_AGAIN)

    assert len(world.ledger.attempts) >= 1
    assert world.delivered() == []
    assert world.letter().error_type == "builtins.KeyError"


def test_the_later_events_of_its_aggregate_wait_and_the_others_do_not(world: World) -> None:
    poisoned, other = world.accounts(2)
    world.ledger.fails_at(poisoned, 2, ValueError("poison"))
    for _ in range(4):
        world.pay_in(poisoned)
        world.pay_in(other)
    manager = world.start(**NEVER_AGAIN)
    world.wait_until_caught_up()
    world.pay_in(poisoned)  # live, too
    world.pay_in(other)
    world.wait_until_caught_up()
    manager.stop()

    assert world.versions(poisoned) == [1]
    assert world.versions(other) == [1, 2, 3, 4, 5, 6]
    assert len(world.letters()) == 1


def test_more_later_events_than_may_be_read_ahead_do_not_hold_up_the_others(world: World) -> None:
    poisoned = a_stream()
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.pay_in(poisoned, 50)  # in a row, so that no other aggregate's success comes in between
    others = world.accounts(30)

    world.catch_up(**NEVER_AGAIN, max_in_flight=20)

    assert (world.versions(poisoned), len(world.letters())) == ([], 1)
    assert all(world.versions(other) == [1] for other in others)


def test_a_restarted_worker_knows_who_waits(world: World) -> None:
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(**NEVER_AGAIN)
    world.pay_in(stream)

    world.catch_up(**NEVER_AGAIN)

    assert world.delivered() == []


def test_an_automatic_retry_resolves_it_and_the_aggregate_flows_again(world: World) -> None:
    poisoned, other = world.accounts(2)
    world.ledger.fails_at(poisoned, 2, ValueError("poison"))
    world.pay_in(poisoned, 4)
    world.start(max_retries=1000)
    world.wait_until_caught_up()
    wait_for(lambda: world.letter().retry_count >= 2, what="automatic retries")
    assert world.versions(poisoned) == [1]

    world.ledger.is_fixed()
    wait_for(lambda: world.letter().state == "resolved" and world.letter().replayed_through is None)
    assert world.versions(poisoned) == [1, 2, 3, 4, 5], "the followers, in order"

    world.pay_in(poisoned, 2)
    world.pay_in(other)
    world.wait_until_caught_up()
    wait_for(lambda: len(world.delivered()) == len(world.log()))
    assert world.versions(poisoned) == [1, 2, 3, 4, 5, 6, 7]
    world.assert_each_once()
    letter = world.letter()
    assert letter.closed_at is not None
    assert letter.closed_by == "worker"


def test_a_retry_that_meets_a_broken_world_does_not_hold_up_the_others(world: World) -> None:
    poisoned, other = world.accounts(2)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.start(**NEVER_AGAIN)
    wait_for(lambda: world.letters() != [], what="a dead letter")
    world.ledger.fails_at(poisoned, 1, ConnectionError("its bank is away"))
    tried = len(world.ledger.attempts)
    DeadLetter.objects.update(next_retry_at=timezone.now())
    wait_for(lambda: len(world.ledger.attempts) > tried, what="the retry")

    position = world.pay_in(other)

    wait_for(lambda: world.position() >= position, seconds=10, what="the other account's payment")
    assert world.versions(other) == [1, 2]
    assert (world.letter().state, world.letter().retry_count) == ("parked", 0)


def test_a_retry_says_nothing_of_the_place_where_processes_have_died(world: World) -> None:
    """The next event kills its process, and at each start a retry is due first: the deaths are counted all the same."""
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, ValueError("poison"))
    world.catch_up(**NEVER_AGAIN)
    DeadLetter.objects.update(next_retry_at=timezone.now())
    next_position = world.position() + 1
    Checkpoint.objects.update(
        owner="died",
        lease_expires_at=timezone.now(),
        unclean_takeover_count=2,
        careful_position=next_position,
        careful_death_count=0,
    )

    manager = world.start(**NEVER_AGAIN)
    wait_for(lambda: world.letter().retry_count == 1, what="the retry")
    manager.stop()

    row = world.checkpoint()
    assert (row.unclean_takeover_count, row.careful_position, row.careful_death_count) == (
        3,
        next_position,
        1,
    )
    assert (row.retry_count, row.events_failed) == (1, 2)


def test_events_that_come_while_the_followers_are_replayed_stay_in_order(world: World) -> None:
    (poisoned,) = world.accounts(1)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.pay_in(poisoned, 20)
    world.start(max_retries=1000)
    wait_for(lambda: world.letters() != [], what="a dead letter")

    world.ledger.is_fixed()
    for _ in range(30):
        world.pay_in(poisoned)

    wait_for(lambda: len(world.delivered()) == 51, what="everything")
    assert world.versions(poisoned) == list(range(1, 52))


def test_a_follower_that_fails_gets_a_letter_of_its_own(world: World) -> None:
    (poisoned,) = world.accounts(1)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.pay_in(poisoned, 3)
    world.start(max_retries=1000)
    wait_for(lambda: world.letters() != [], what="a dead letter")

    world.ledger.fails_at(poisoned, 3, ValueError("poison too"))
    del world.ledger.traps[poisoned.aggregate_id, 1]
    wait_for(lambda: len(world.letters()) == 2, what="a second letter")
    wait_for(lambda: world.letters()[1].retry_count > 0)
    assert [letter.state for letter in world.letters()][:1] == ["resolved"]
    assert world.versions(poisoned) == [1, 2]

    world.ledger.is_fixed()
    wait_for(lambda: world.versions(poisoned) == [1, 2, 3, 4])
    wait_for(lambda: [letter.state for letter in world.letters()] == ["resolved", "resolved"])


def test_after_max_retries_it_is_dead_and_reported_as_critical(world: World) -> None:
    (poisoned,) = world.accounts(1)
    world.pay_in(poisoned)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.start(max_retries=3)
    wait_for(lambda: [letter.state for letter in world.letters()] == ["dead"], what="a dead letter")
    wait_for(lambda: any(e.classification.severity is ErrorSeverity.CRITICAL for e in world.errors))
    generation = world.checkpoint().parked_generation
    attempts = len(world.ledger.attempts)

    others = world.accounts(3)  # a dead letter is not tried again by itself, and holds nobody up
    world.wait_until_caught_up()

    letter = world.letter()
    assert (letter.retry_count, letter.next_retry_at) == (3, None)
    assert attempts == len(world.ledger.attempts) - len(others)
    assert world.checkpoint().parked_generation == generation
    assert [e.retry_count for e in world.errors] == [0, 1, 2, 3]
    assert [e.classification.severity.value for e in world.errors] == ["medium"] * 3 + ["critical"]
    assert letter.severity == "critical"
    assert world.versions(poisoned) == []


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ValueError("an evil \0 nul"), "an evil \ufffd nul"),
        (ValueError("half a \ud800 character"), "half a ? character"),
        (UnspeakableError(), "UnspeakableError"),
    ],
)
def test_an_error_that_the_database_could_not_keep_is_parked_retried_and_dead_like_any_other(
    world: World, error: Exception, kept: str
) -> None:
    (poisoned,) = world.accounts(1)
    world.ledger.fails_at(poisoned, 1, error)
    world.start(max_retries=2)
    wait_for(lambda: [letter.state for letter in world.letters()] == ["dead"], what="a dead letter")
    world.wait_until_caught_up()
    assert (world.letter().error_message, world.letter().retry_count) == (kept, 2)
    assert world.checkpoint().last_error == kept
    wait_for(lambda: [e.error_message for e in world.errors] == [kept] * 3, what="the three reports")


@pytest.mark.parametrize("cause", ["stop", "breaker"])
def test_such_an_error_stops_or_opens_the_breaker_like_any_other(world: World, cause: str) -> None:
    for stream in world.accounts(3):
        world.ledger.fails_at(stream, 1, ValueError("an evil \0 nul"))
    config: dict[str, dict[str, Any]] = {
        "stop": {"continue_on_error": False},
        "breaker": {"circuit_breaker_failure_threshold": 2},
    }
    world.start(**config[cause])
    wait_for(lambda: bool(world.checkpoint().last_error), what="the error in the checkpoint")
    checkpoint = world.checkpoint()
    assert (checkpoint.state == "stopped", checkpoint.breaker == "open") == (
        cause == "stop",
        cause == "breaker",
    )
    assert "an evil \ufffd nul" in (checkpoint.last_error)


def test_a_letter_whose_event_is_not_in_the_log_any_more_is_an_operators_and_delays_no_other(
    world: World,
) -> None:
    lost, kept = world.accounts(2)
    world.ledger.fails_at(lost, 1, ValueError("poison"))
    world.ledger.fails_at(kept, 1, ValueError("poison"))
    world.catch_up(**NEVER_AGAIN)
    run_sql("UPDATE eventsource_app_deadletter SET next_retry_at = now()")
    # As after a restore from a backup that has the letter and not the event.
    run_sql(
        "UPDATE eventsource_app_deadletter SET position = position + 1000 WHERE aggregate_id = %s",
        [lost.aggregate_id],
    )
    world.ledger.is_fixed()

    world.start(**NEVER_AGAIN)

    wait_for(lambda: sorted(letter.state for letter in world.letters()) == ["dead", "resolved"])
    (dead,) = [letter for letter in world.letters() if letter.state == "dead"]
    assert "has no event at position" in dead.error_message
    assert world.versions(kept) == [1]


@pytest.mark.parametrize("raised", [SystemExit, CancelledError, KeyboardInterrupt])
def test_a_handler_that_raises_what_would_end_its_thread_costs_one_event_too(
    world: World, raised: type[BaseException]
) -> None:
    streams = world.accounts(3)

    def leave() -> None:
        raise raised("enough")

    world.ledger.traps[streams[1].aggregate_id, 1] = leave
    manager = world.start(max_retries=1)
    wait_for(lambda: world.letters() and world.letter().state == "dead", what="a dead letter")
    manager.stop()

    log = world.log()
    assert world.delivered() == [log[0], log[2]]
    assert world.letter().error_message == f"The handler raised {raised.__name__}: enough"
    assert f"{raised.__name__}: enough" in world.letter().traceback
    assert world.letter().retry_count == 1
    assert world.checkpoint().epoch == 1, "its worker goes on"


def test_max_retries_zero_is_dead_at_once(world: World) -> None:
    (poisoned,) = world.accounts(1)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.catch_up(max_retries=0)
    assert world.letter().state == "dead"


def test_a_permanent_error_is_dead_at_once(world: World) -> None:
    class NoSuchCurrencyError(PermanentError):
        pass

    (poisoned,) = world.accounts(1)
    world.ledger.fails_at(poisoned, 1, NoSuchCurrencyError("XYZ"))

    world.catch_up(max_retries=1000)

    letter = world.letter()
    assert (letter.state, letter.category, letter.next_retry_at) == ("dead", "permanent", None)
    assert world.errors[0].classification.category is ErrorCategory.PERMANENT
    assert world.errors[0].classification.retryable is False


def test_the_event_scope_parks_just_the_one(world: World) -> None:
    (poisoned,) = world.accounts(1)
    world.pay_in(poisoned, 4)
    world.ledger.fails_at(poisoned, 2, ValueError("poison"))
    world.start(dead_letter_scope="event", max_retries=1000)
    world.wait_until_caught_up()
    wait_for(lambda: world.letters() != [], what="a dead letter")
    assert world.versions(poisoned) == [1, 3, 4, 5]
    assert world.letter().scope == "event"

    world.ledger.is_fixed()
    wait_for(lambda: world.letter().state == "resolved")
    assert world.versions(poisoned) == [1, 3, 4, 5, 2]
    world.assert_each_once()


@pytest.mark.parametrize(
    ("before", "now", "order"), [("event", "aggregate", [1, 2, 3]), ("aggregate", "event", [2, 3, 1])]
)
def test_a_scope_that_was_changed_holds_when_the_event_fails_again(
    world: World, before: str, now: str, order: list[int]
) -> None:
    poisoned = a_stream()
    world.pay_in(poisoned, 3)
    world.accounts(1)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    world.catch_up(**NEVER_AGAIN, dead_letter_scope=before)
    run_sql("DELETE FROM ledger_line")
    reset_checkpoint(NAME, 0, "an operator", store=world.store)

    world.start(dead_letter_scope=now, max_retries=1000)
    wait_for(lambda: world.letter().state == "parked", what="the same letter again")
    assert world.letter().scope == now
    world.ledger.is_fixed()

    wait_for(lambda: len(world.versions(poisoned)) >= 3, what="everything")
    wait_for(lambda: world.letter().state == "resolved" and world.letter().replayed_through is None)
    assert world.versions(poisoned) == order
    world.assert_each_once()


@pytest.mark.parametrize("batch_size", [1, 10])
def test_continue_on_error_false_stops_there_and_advances_nothing(world: World, batch_size: int) -> None:
    streams = world.accounts(20)
    world.ledger.fails_at(streams[7], 1, ValueError("poison"))
    manager = world.start(continue_on_error=False, batch_size=batch_size)
    wait_for(lambda: world.checkpoint().state == "stopped", what="a stop")
    manager.stop()

    log, checkpoint = world.log(), world.checkpoint()
    assert world.delivered() == log[:7]
    assert checkpoint.position == log[6]
    assert (checkpoint.events_failed, checkpoint.events_processed) == (1, 7)
    assert f"at position {log[7]} failed: poison" in checkpoint.state_reason
    assert [e.position for e in world.errors] == [log[7]]
    assert world.letters() == []

    world.ledger.is_fixed()
    manager = world.start(continue_on_error=False)  # a restart alone does not go on: an operator resumes
    wait_for(lambda: world.checkpoint().owner is not None)
    assert world.delivered() == log[:7]
    run_sql("UPDATE eventsource_app_checkpoint SET state = 'running'")
    world.wait_until_caught_up()
    assert world.delivered() == log


def test_max_dead_letters_stops_visibly_and_loses_nothing(world: World) -> None:
    streams = world.accounts(12)
    for index in (1, 4, 7):
        world.ledger.fails_at(streams[index], 1, ValueError(f"poison {index}"))
    manager = world.start(max_dead_letters=2, **NEVER_AGAIN)
    wait_for(lambda: world.checkpoint().state == "stopped", what="a stop")
    manager.stop()

    log = world.log()
    assert [letter.position for letter in world.letters()] == [log[1], log[4]]
    assert world.checkpoint().position < log[7]
    assert "max_dead_letters=2" in world.checkpoint().state_reason
    assert any(
        e.classification.severity is ErrorSeverity.CRITICAL and "max_dead_letters" in e.error_message
        for e in world.errors
    )

    world.ledger.is_fixed()
    run_sql("UPDATE eventsource_app_checkpoint SET state = 'running'")
    run_sql("UPDATE eventsource_app_deadletter SET next_retry_at = now()")
    world.start(max_dead_letters=2)
    wait_for(lambda: sorted(world.delivered()) == log)


def test_a_dead_letter_that_cannot_be_written_loses_nothing(world: World) -> None:
    """The letter and the checkpoint commit together, so without the letter the checkpoint stays before the event."""
    poisoned, *others = world.accounts(5)
    world.ledger.fails_at(poisoned, 1, ValueError("poison"))
    run_sql(
        "ALTER TABLE eventsource_app_deadletter ADD CONSTRAINT full_disk CHECK (subscription <> 'ledger')"
    )
    try:
        world.start(max_retries=1000)
        wait_for(lambda: world.ledger.attempts.count((poisoned.aggregate_id, 1)) >= 3, what="attempts")
        assert world.position() < world.log()[0]
        assert world.letters() == []
    finally:
        run_sql("ALTER TABLE eventsource_app_deadletter DROP CONSTRAINT full_disk")

    wait_for(lambda: len(world.delivered()) == len(others), what="the others")
    wait_for(lambda: len(world.letters()) == 1, what="the letter")
    world.ledger.is_fixed()
    wait_for(lambda: len(world.delivered()) == 5)
    world.assert_each_once()


def test_a_letter_and_the_checkpoint_that_passes_it_are_one_commit(world: World) -> None:
    """Whatever moment somebody looks: the checkpoint never stands behind a failed event without its letter."""
    run_sql(
        "CREATE FUNCTION ledger_watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO ledger_watch_log SELECT NEW.position, (SELECT count(*) FROM eventsource_app_deadletter); "
        "RETURN NEW; END $$"
    )
    run_sql("CREATE TABLE ledger_watch_log (position bigint, letters bigint)")
    run_sql(
        "CREATE TRIGGER ledger_watch AFTER UPDATE OF position ON eventsource_app_checkpoint "
        "FOR EACH ROW WHEN (OLD.position <> NEW.position) EXECUTE FUNCTION ledger_watch()"
    )
    try:
        streams = world.accounts(5)
        world.ledger.fails_at(streams[2], 1, ValueError("poison"))
        world.catch_up(**NEVER_AGAIN)
        log = world.log()
        rows = query("SELECT position, letters FROM ledger_watch_log ORDER BY position")
    finally:
        run_sql("DROP TRIGGER ledger_watch ON eventsource_app_checkpoint")
        run_sql("DROP FUNCTION ledger_watch")
        run_sql("DROP TABLE ledger_watch_log")
    assert all(letters == (position >= log[2]) for position, letters in rows)
    assert rows[-1][0] >= log[-1]


def test_a_database_error_of_the_event_is_kept_without_its_values(world: World) -> None:
    (stream,) = world.accounts(1)
    world.ledger.fails_at(stream, 1, IntegrityError("duplicate key\nDETAIL:  Key (name)=(Smith) exists."))
    world.catch_up(**NEVER_AGAIN)
    assert world.letter().error_message == "duplicate key"
