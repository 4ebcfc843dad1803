"""When a failed event is tried again."""

import pytest

from eventsource_app.subscriptions import SubscriptionConfig
from eventsource_app.subscriptions.retry import backoff, delay_before


def exactly(low: float, high: float) -> float:
    """A chance that always falls in the middle."""
    return (low + high) / 2


def test_delays_double_up_to_the_maximum_and_then_retries_run_out() -> None:
    config = SubscriptionConfig(max_retries=8)
    delays = [delay_before(retry, config, exactly) for retry in range(1, 10)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, None]


def test_no_retries_at_all() -> None:
    assert delay_before(1, SubscriptionConfig(max_retries=0), exactly) is None


def test_the_base_and_the_first_delay_are_configured() -> None:
    config = SubscriptionConfig(initial_retry_delay=0.5, retry_exponential_base=3, max_retry_delay=10)
    assert [delay_before(retry, config, exactly) for retry in (1, 2, 3, 4)] == [0.5, 1.5, 4.5, 10]


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_jitter_moves_a_delay_by_at_most_its_share(share: float) -> None:
    config = SubscriptionConfig(retry_jitter=share)
    lowest, highest = (
        delay_before(2, config, lambda low, _: low),
        delay_before(2, config, lambda _, high: high),
    )
    assert lowest == pytest.approx(2 * (1 - share))
    assert highest == pytest.approx(2 * (1 + share))


def test_chance_is_used() -> None:
    assert len({delay_before(1, SubscriptionConfig()) for _ in range(20)}) > 1
    assert {delay_before(1, SubscriptionConfig(retry_jitter=0)) for _ in range(20)} == {1}


def test_an_outage_may_last_for_ever() -> None:
    config = SubscriptionConfig(max_retries=1, retry_exponential_base=10)
    assert [backoff(attempt, config, exactly) for attempt in (1, 2, 3, 10**6)] == [1, 10, 60, 60]
