"""The circuit breaker: tells a poison event from a broken world. Pure; the worker acts on what it says."""

import enum
import time
from collections.abc import Callable

from eventsource_app.subscriptions.config import SubscriptionConfig


class BreakerState(enum.Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Counts a run of failures of different aggregates: at the threshold it opens, one success closes it.

    Open, nothing is tried until ``circuit_breaker_recovery_timeout`` seconds have passed; then the run is tried again.
    """

    def __init__(self, config: SubscriptionConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._enabled = config.circuit_breaker_enabled
        self._threshold = config.circuit_breaker_failure_threshold
        self._recovery = config.circuit_breaker_recovery_timeout
        self._clock = clock
        self._opened_at: float | None = None
        self.state = BreakerState.CLOSED

    def allow(self) -> bool:
        """Say whether anything may be tried now; the first yes after the recovery time is the probe."""
        if self.state is BreakerState.OPEN and self.seconds_to_probe() <= 0:
            self.state = BreakerState.HALF_OPEN
        return self.state is not BreakerState.OPEN

    def seconds_to_probe(self) -> float:
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._recovery - self._clock())

    def succeeded(self) -> None:
        self.state, self._opened_at = BreakerState.CLOSED, None

    def failed(self, run_length: int) -> bool:
        """Take note of a run of ``run_length`` failures of different aggregates; say whether that opens it."""
        if not self._enabled or run_length < self._threshold:
            return False
        self.open()
        return True

    def open(self) -> None:
        self.state, self._opened_at = BreakerState.OPEN, self._clock()
