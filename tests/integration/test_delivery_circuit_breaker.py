"""A run of different aggregates that fail is a broken world: the line stops, nothing of the run is parked or lost."""

from typing import Any

import psycopg
import pytest

from eventsource_app.store import StreamId
from eventsource_app.subscriptions import ErrorSeverity, SubscriptionConfig
from tests.integration.ledger import NEVER_AGAIN, World, plain_parameters, query
from tests.waiting import wait_for

THRESHOLD: dict[str, Any] = {"circuit_breaker_failure_threshold": 5}


def all_fail(world: World, streams: list[StreamId]) -> None:
    for stream in streams:
        world.ledger.fails_at(stream, 1, RuntimeError("the currency service is away"))


def is_open(world: World) -> bool:
    return world.checkpoint().breaker == "open"


@pytest.mark.parametrize("failing", [5, 20])
def test_a_run_of_failures_opens_it_and_after_recovery_nothing_is_lost(world: World, failing: int) -> None:
    streams = world.accounts(30)
    all_fail(world, streams[3 : 3 + failing])
    world.start(**THRESHOLD)
    wait_for(lambda: is_open(world), what="an open breaker")
    log = world.log()

    assert world.delivered() == log[:3]
    assert world.position() == log[2]
    assert world.letters() == []
    assert world.checkpoint().breaker_opened_at is not None
    assert world.checkpoint().events_failed >= 5
    assert "5 events of different aggregates failed in a row" in world.checkpoint().last_error
    wait_for(lambda: any(e.classification.severity is ErrorSeverity.CRITICAL for e in world.errors))
    probes = len(world.ledger.attempts)
    wait_for(lambda: len(world.ledger.attempts) > probes + 5, what="probes")
    assert (world.letters(), world.position()) == ([], log[2])

    # As a probe begins: recovery in the middle of one would park the failures before it, and retry them.
    world.ledger.traps[streams[3].aggregate_id, 1] = world.ledger.is_fixed
    world.wait_until_caught_up()
    assert world.delivered() == log
    assert world.letters() == []
    wait_for(lambda: world.checkpoint().breaker == "closed")


def test_fewer_failures_than_the_threshold_are_parked_by_the_next_success(world: World) -> None:
    streams = world.accounts(10)
    all_fail(world, streams[2:6])
    world.catch_up(**THRESHOLD, **NEVER_AGAIN)
    log = world.log()
    assert [letter.position for letter in world.letters()] == log[2:6]
    assert world.delivered() == [*log[:2], *log[6:]]
    assert world.checkpoint().breaker == "closed"


def test_fewer_failures_than_the_threshold_are_parked_at_the_logs_end(world: World) -> None:
    streams = world.accounts(10)
    all_fail(world, streams[6:])
    world.catch_up(**THRESHOLD, **NEVER_AGAIN)
    assert [letter.position for letter in world.letters()] == world.log()[6:]


def test_failures_of_one_aggregate_never_open_it(world: World) -> None:
    (stream,) = world.accounts(1)
    world.pay_in(stream, 30)
    for version in range(1, 32):
        world.ledger.fails_at(stream, version, RuntimeError("always the same account"))
    world.catch_up(**THRESHOLD, **NEVER_AGAIN, dead_letter_scope="event")
    assert len(world.letters()) == 31
    assert world.checkpoint().breaker == "closed"


def test_a_run_that_a_success_interrupts_starts_again(world: World) -> None:
    streams = world.accounts(20)
    all_fail(world, [stream for index, stream in enumerate(streams) if index % 3])
    world.catch_up(**THRESHOLD, **NEVER_AGAIN)
    assert len(world.letters()) == 13
    assert world.checkpoint().breaker == "closed"


def test_switched_off_it_parks_them_all(world: World) -> None:
    streams = world.accounts(20)
    all_fail(world, streams)
    world.catch_up(**THRESHOLD, **NEVER_AGAIN, circuit_breaker_enabled=False)
    assert len(world.letters()) == 20


def test_switched_off_nothing_is_held_back_each_failure_is_parked_and_kept(world: World) -> None:
    streams = world.accounts(20)
    all_fail(world, streams[:19])
    parked_before: list[int] = []

    def look() -> None:
        with psycopg.connect(**plain_parameters()) as other:
            row = other.execute("SELECT count(*) FROM eventsource_app_deadletter").fetchone()
        parked_before.append(row[0] if row else -1)
        raise RuntimeError("the currency service is away")

    world.ledger.traps[streams[18].aggregate_id, 1] = look
    world.catch_up(**NEVER_AGAIN, batch_size=50, circuit_breaker_enabled=False)
    assert parked_before == [18]
    assert world.delivered() == world.log()[19:]


def test_a_run_longer_than_what_may_be_read_ahead_is_parked_and_the_line_goes_on(world: World) -> None:
    streams = world.accounts(60)
    all_fail(world, streams[:50])
    world.catch_up(**NEVER_AGAIN, max_in_flight=20, circuit_breaker_enabled=False)
    log = world.log()
    assert [letter.position for letter in world.letters()] == log[:50]
    assert world.delivered() == log[50:]


def test_a_stop_in_the_middle_of_a_run_parks_nothing_and_loses_nothing(world: World) -> None:
    streams = world.accounts(8)
    all_fail(world, streams[2:])
    manager = world.start(circuit_breaker_failure_threshold=6, circuit_breaker_recovery_timeout=3600)
    wait_for(lambda: is_open(world), what="an open breaker")
    manager.stop()
    assert world.letters() == []

    world.ledger.is_fixed()
    world.catch_up()
    assert world.delivered() == world.log()


def test_until_caught_up_does_not_wait_for_an_open_breaker(world: World) -> None:
    streams = world.accounts(8)
    all_fail(world, streams)
    manager = world.manager()
    manager.subscribe(world.ledger, SubscriptionConfig(circuit_breaker_recovery_timeout=3600), name="ledger")
    result = manager.run_until_caught_up()
    assert manager.is_blocked
    assert result.reason == manager.unhandled
    assert result.reason.startswith("The circuit breaker of ledger is open while events wait")
    assert query("SELECT breaker FROM eventsource_app_checkpoint") == [("open",)]
