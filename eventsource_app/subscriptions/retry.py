"""When a failed event is tried again: a pure rule."""

import random
from collections.abc import Callable

from eventsource_app.subscriptions.config import SubscriptionConfig


def delay_before(
    retry: int, config: SubscriptionConfig, uniform: Callable[[float, float], float] = random.uniform
) -> float | None:
    """Return the seconds to wait before retry number ``retry`` (from 1); ``None`` when retries have run out.

    Exponential from ``initial_retry_delay`` up to ``max_retry_delay``, moved by up to ``retry_jitter`` of itself.
    """
    if retry > config.max_retries:
        return None
    return backoff(retry, config, uniform)


def backoff(
    attempt: int, config: SubscriptionConfig, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait after failure number ``attempt`` (from 1) of something that may be tried for ever."""
    exponent = min(attempt - 1, 64)  # above that the float overflows, and the maximum has long been reached
    delay = min(config.initial_retry_delay * config.retry_exponential_base**exponent, config.max_retry_delay)
    return delay * (1 + uniform(-config.retry_jitter, config.retry_jitter))
