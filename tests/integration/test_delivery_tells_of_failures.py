"""Every failed attempt is told: to callbacks, to the statistics, to the log; a callback that raises harms nothing."""

import logging
from asyncio import CancelledError
from typing import Any

import pytest

from eventsource_app.subscriptions import (
    ErrorCategory,
    ErrorInfo,
    ErrorSeverity,
    PermanentError,
    SubscriptionConfig,
)
from tests.integration.ledger import NAME, QUICK, World
from tests.waiting import wait_for

NEVER_AGAIN: dict[str, Any] = {**QUICK, "initial_retry_delay": 3600, "max_retry_delay": 3600}


def four_kinds_of_failures(world: World) -> list[int]:
    """Medium and application, high and application, high and permanent, medium and unknown; return their positions."""
    streams = world.accounts(12)
    for index, error in {
        1: ValueError("bad value"),
        4: TypeError("a bug"),
        7: PermanentError("never"),
        10: RuntimeError("who knows"),
    }.items():
        world.ledger.fails_at(streams[index], 1, error)
    log = world.log()
    return [log[1], log[4], log[7], log[10]]


def test_callbacks_get_their_severity_and_above_and_their_category(world: World) -> None:
    value, bug, permanent, unknown = four_kinds_of_failures(world)
    heard: dict[str, list[int | None]] = {
        name: [] for name in ("low", "medium", "high", "critical", "permanent")
    }

    def listen(name: str) -> Any:
        return lambda info: heard[name].append(info.position)

    manager = world.manager()
    manager.on_error_severity(ErrorSeverity.HIGH, listen("high"))
    manager.on_error_category(ErrorCategory.PERMANENT, listen("permanent"))
    manager.subscribe(world.ledger, SubscriptionConfig(**NEVER_AGAIN), name=NAME)
    manager.on_error_severity(ErrorSeverity.LOW, listen("low"))  # after subscribe, too
    manager.on_error_severity(ErrorSeverity.MEDIUM, listen("medium"))
    manager.on_error_severity(ErrorSeverity.CRITICAL, listen("critical"))
    manager.start()
    world.wait_until_caught_up()
    manager.stop()

    assert heard["low"] == heard["medium"] == [value, bug, permanent, unknown]
    assert heard["high"] == [bug, permanent]
    assert heard["permanent"] == [permanent]
    assert heard["critical"] == [], "dead at once because it was declared so: high, as the table has it"


def test_a_callback_gets_all_there_is_to_know(world: World) -> None:
    streams = world.accounts(1)
    world.ledger.fails_at(streams[0], 1, ValueError("bad value\nDETAIL:  of Mrs Smith"))
    world.start(max_retries=2)
    wait_for(lambda: len(world.errors) == 3, what="three attempts")

    (recorded,) = world.store.read_all()
    first, second, third = world.errors
    assert first == ErrorInfo(
        subscription_name=NAME,
        event_id=recorded.event_id,
        event_type="MoneyPaidIn",
        position=recorded.position,
        aggregate_id=streams[0].aggregate_id,
        error_type="builtins.ValueError",
        error_message="bad value",
        retry_count=0,
        classification=first.classification,
        occurred_at=first.occurred_at,
    )
    assert first.classification.severity is ErrorSeverity.MEDIUM
    assert first.occurred_at.tzinfo is not None
    assert [second.retry_count, third.retry_count] == [1, 2]
    assert [error.classification.severity.value for error in world.errors] == ["medium", "medium", "critical"]


@pytest.mark.parametrize(
    "error",
    [RuntimeError("the pager is away"), SystemExit("the pager is away"), CancelledError("the pager is away")],
    ids=lambda error: type(error).__name__,
)
def test_a_callback_that_raises_is_logged_and_harms_nothing(
    world: World, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    streams = world.accounts(5)
    world.ledger.fails_at(streams[2], 1, ValueError("poison"))
    heard: list[ErrorInfo] = []

    def broken(info: ErrorInfo) -> None:
        raise error

    manager = world.manager()
    manager.on_error(broken)
    manager.on_error(heard.append)
    manager.subscribe(world.ledger, SubscriptionConfig(**NEVER_AGAIN), name=NAME)
    with caplog.at_level(logging.ERROR):
        manager.start()
        world.wait_until_caught_up()
        result = manager.stop()

    assert result.checkpoints_saved == 1, "the worker is still the one that began"
    assert world.checkpoint().epoch == 1
    assert len(heard) == len(world.errors) == 1
    assert len(world.delivered()) == 4
    assert len(world.letters()) == 1
    assert "Error callback failed" in caplog.text
    assert "the pager is away" in caplog.text


def test_the_statistics_are_true(world: World) -> None:
    streams = world.accounts(10)
    world.ledger.fails_at(streams[3], 1, ValueError("poison"))
    world.ledger.fails_at(streams[6], 1, PermanentError("never"))
    manager = world.start(max_retries=1000)
    assert manager.get_error_stats()["total_errors"] >= 0
    wait_for(lambda: len(world.errors) >= 5, what="retries")
    world.wait_until_caught_up()

    stats = manager.get_error_stats()
    assert stats["total_dlq_count"] == 2
    assert stats["subscriptions"][NAME]["dlq_count"] == 2
    world.ledger.is_fixed()
    wait_for(lambda: manager.get_error_stats()["total_dlq_count"] == 1, what="the parked one to be resolved")
    manager.stop()
    stats = manager.get_error_stats()
    assert stats["total_errors"] == len(world.errors)
    assert stats["subscriptions"] == {NAME: {"errors": len(world.errors), "dlq_count": 1}}
    assert world.checkpoint().events_failed == len(world.errors)


def test_an_attempt_that_retries_run_out_with_is_counted_once(world: World) -> None:
    streams = world.accounts(3)
    world.ledger.fails_at(streams[1], 1, ValueError("poison"))
    manager = world.start(max_retries=1)
    wait_for(lambda: [letter.state for letter in world.letters()] == ["dead"], what="a dead letter")
    manager.stop()
    assert (
        manager.get_error_stats()["total_errors"]
        == len(world.errors)
        == world.checkpoint().events_failed
        == 2
    )


def test_what_befalls_the_whole_subscription_is_told_as_critical_and_is_no_attempt(world: World) -> None:
    streams = world.accounts(3)
    for stream in streams:
        world.ledger.fails_at(stream, 1, ValueError("the world is broken"))
    manager = world.start(circuit_breaker_failure_threshold=3, circuit_breaker_recovery_timeout=3600)
    wait_for(lambda: len(world.errors) == 4, what="three attempts, and that the breaker opened")
    opened = world.errors[-1]
    assert "Circuit breaker opened" in opened.error_message
    assert (opened.classification.severity, opened.event_id) == (ErrorSeverity.CRITICAL, None)
    assert manager.get_error_stats()["total_errors"] == 3
    manager.stop()


def test_the_log_has_a_line_for_each_attempt(world: World, caplog: pytest.LogCaptureFixture) -> None:
    streams = world.accounts(3)
    world.ledger.fails_at(streams[1], 1, ValueError("poison"))
    with caplog.at_level(logging.ERROR):
        world.start(max_retries=1)
        wait_for(lambda: len(world.errors) == 2, what="two attempts")
        world.stop()
    lines = [
        vars(r) for r in caplog.records if r.name == "eventsource.errors" and r.msg == "Subscription error"
    ]
    assert [line["retry_count"] for line in lines] == [0, 1]
    assert {line["subscription"] for line in lines} == {NAME}
    assert {line["event_type"] for line in lines} == {"MoneyPaidIn"}
    assert [line["severity"] for line in lines] == ["medium", "critical"]
    alerts = [r.getMessage() for r in caplog.records if r.name == "eventsource.alerts"]
    assert alerts == ["CRITICAL ERROR in ledger"]


def test_the_log_tells_when_an_event_is_parked_and_when_it_is_handled_after_all(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    (account,) = world.accounts(1)
    world.ledger.fails_at(account, 1, ValueError("no"))
    with caplog.at_level(logging.INFO, "eventsource.worker"):
        world.start(initial_retry_delay=0.05)
        wait_for(lambda: lines(caplog, "Event parked"), what="the parking")
        world.ledger.is_fixed()
        wait_for(lambda: lines(caplog, "Parked event handled"), what="the retry's success")
    (recorded,) = world.store.read_stream(account)
    for message in ("Event parked", "Parked event handled"):
        (line,) = lines(caplog, message)
        told = vars(line)
        assert (told["subscription"], told["position"]) == (NAME, recorded.position)
        assert (told["event_type"], told["aggregate_id"]) == ("MoneyPaidIn", str(account.aggregate_id))
    assert vars(lines(caplog, "Parked event handled")[0])["who"] == "worker"


def lines(caplog: pytest.LogCaptureFixture, message: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.message == message]
