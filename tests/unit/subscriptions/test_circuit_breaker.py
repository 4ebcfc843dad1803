"""The breaker opens at a run as long as its threshold, lets one probe through, and closes by one success."""

from eventsource_app.subscriptions import SubscriptionConfig
from eventsource_app.subscriptions.circuit_breaker import BreakerState, CircuitBreaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def a_breaker(**changes: object) -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    return CircuitBreaker(SubscriptionConfig(**changes), clock), clock  # type: ignore[arg-type]


def test_it_starts_closed() -> None:
    breaker, _ = a_breaker()
    assert (breaker.state, breaker.allow(), breaker.seconds_to_probe()) == (BreakerState.CLOSED, True, 0)


def test_below_the_threshold_it_stays_closed() -> None:
    breaker, _ = a_breaker()
    assert [breaker.failed(run) for run in (1, 2, 3, 4)] == [False] * 4
    assert breaker.allow()


def test_at_the_threshold_it_opens_and_nothing_is_tried() -> None:
    breaker, clock = a_breaker()
    assert breaker.failed(5)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allow()
    assert breaker.seconds_to_probe() == 30
    clock.now += 29.9
    assert not breaker.allow()


def test_after_the_recovery_time_the_run_is_tried_again() -> None:
    breaker, clock = a_breaker()
    breaker.failed(5)
    clock.now += 30
    assert breaker.allow()
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.allow()


def test_one_success_closes_it() -> None:
    breaker, clock = a_breaker()
    breaker.failed(5)
    clock.now += 30
    breaker.allow()
    breaker.succeeded()
    assert (breaker.state, breaker.allow(), breaker.seconds_to_probe()) == (BreakerState.CLOSED, True, 0)


def test_a_failed_probe_opens_it_for_the_whole_time_again() -> None:
    breaker, clock = a_breaker()
    breaker.failed(5)
    clock.now += 30
    breaker.allow()
    assert breaker.failed(5)
    assert not breaker.allow()
    assert breaker.seconds_to_probe() == 30


def test_switched_off_it_never_opens() -> None:
    breaker, _ = a_breaker(circuit_breaker_enabled=False)
    assert not breaker.failed(1000)
    assert breaker.allow()


def test_its_numbers_are_configured() -> None:
    breaker, _ = a_breaker(circuit_breaker_failure_threshold=2, circuit_breaker_recovery_timeout=7)
    assert breaker.failed(2)
    assert breaker.seconds_to_probe() == 7
