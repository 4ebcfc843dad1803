"""Starting while the database is away: a worker may come up before it does."""

import logging
import time
from collections.abc import Callable
from typing import Final

from django.db import DatabaseError, InterfaceError

from eventsource_app.subscriptions.config import SubscriptionConfig
from eventsource_app.subscriptions.errors import ErrorCategory, classify
from eventsource_app.subscriptions.retry import backoff
from eventsource_app.subscriptions.shutdown import StopRequest
from eventsource_app.subscriptions.signals import POLL_SECONDS, StopSignals

logger = logging.getLogger("eventsource.manager")
PAUSES: Final = SubscriptionConfig(initial_retry_delay=0.25, max_retry_delay=5)


def start_when_possible(
    start: Callable[[], None], on_wait: Callable[[], None], stop: StopRequest, signals: StopSignals
) -> None:
    """Call ``start`` until it comes through or a stop is asked for; ``on_wait`` before each pause. Other errors pass."""
    failures = 0
    while not stop:
        try:
            start()
            return
        except (DatabaseError, InterfaceError) as error:
            if classify(error).category is not ErrorCategory.INFRASTRUCTURE:
                raise
            failures += 1
            seconds = backoff(failures, PAUSES)
            on_wait()
            logger.warning(
                "Manager waits for the database",
                extra={"error_message": str(error).strip(), "delay_seconds": seconds},
            )
            _wait(seconds, stop, signals)


def _wait(seconds: float, stop: StopRequest, signals: StopSignals) -> None:
    until = time.monotonic() + seconds
    while not stop and time.monotonic() < until:
        signals.wait(POLL_SECONDS)
