"""Delivery: hands events over, attempt by attempt, and decides what a failed attempt means.

A batch that fails is rolled back and replayed one event per transaction, which finds the event that failed. Failures
of one aggregate after another are a run, held back until it is known what they mean: the first success of another
aggregate (or the log's end) parks them, a run as long as the breaker's threshold drops them and opens the breaker.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NoReturn

from django.db import connections, transaction

from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions import checkpoints
from eventsource_app.subscriptions.attempts import Attempts, Limits
from eventsource_app.subscriptions.careful import CarefulMode
from eventsource_app.subscriptions.checkpoints import Lease
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.config import CheckpointStrategy
from eventsource_app.subscriptions.dead_letters import Failure
from eventsource_app.subscriptions.errors import (
    ErrorCategory,
    ErrorClassification,
    classify,
    describe,
    was_cancelled,
    when_exhausted,
)
from eventsource_app.subscriptions.failure_run import FailureRun
from eventsource_app.subscriptions.handling import decode_ahead
from eventsource_app.subscriptions.interruptions import (
    BreakerOpenedError,
    CutShortError,
    DeadLetterLimitError,
    Interruption,
    StoppedError,
    WorldError,
)
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks, critical_info, error_info
from eventsource_app.subscriptions.retry import delay_before

logger = logging.getLogger("eventsource.worker")


class Delivery:
    """Hands the pages of one leased partition to its projection, exactly once."""

    def __init__(
        self,
        subscription: Subscription,
        using: str,
        lease: Lease,
        limits: Limits,
        callbacks: ErrorCallbacks,
        breaker: CircuitBreaker,
    ) -> None:
        self._subscription = subscription
        self._config = subscription.config
        self._using = using
        self._lease = lease
        self._stopping = limits.stopping
        self._callbacks = callbacks
        self._breaker = breaker
        self._run = FailureRun()
        self._attempts = Attempts(subscription, using, lease, limits, self._run)
        self._careful = CarefulMode(using, lease, self._config.in_flight_limit)
        self._world_failures = 0
        self.upcoming: Callable[[], list[RecordedEvent]] = list

    @property
    def position(self) -> int:
        """The position that is committed, as far as this process knows."""
        return self._attempts.position

    @property
    def current(self) -> RecordedEvent | None:
        """The event, or the first of those, that a handler has at this moment."""
        return self._attempts.current

    @property
    def has_open_letters(self) -> bool:
        """Say whether there may be letters to retry (unknown before the first look)."""
        return self._attempts.has_open_letters

    def know_parked(self, generation: int) -> None:
        """Load the parked set unless it is known at this generation."""
        self._attempts.know_parked(generation)

    def forget(self, position: int) -> None:
        """Start over at the committed position: whatever was decided and not committed is dropped."""
        self._attempts.forget(position)

    def deliver(self, page: Page) -> bool:
        """Handle a page; False when a stop cut it short, so that the rest must be read again.

        Raises ``WorldError``, ``BreakerOpenedError``, ``StoppedError``, ``NotRunningError``, ``CheckpointMovedError`` or
        ``LeaseLostError``; whatever was committed by then stands.
        """
        self._attempts.meanwhile = decode_ahead(page.events, self.upcoming)
        if self._run or self._careful or self._blames_the_event():
            return self._deliver_singly(page)
        handled = 0
        try:
            for part in self._parts(page):
                while self.position < part.through:
                    if part.events and self._stopping():
                        return False
                    handled += self._attempts.attempt(part.above(self.position))
        except Interruption:
            raise
        except Exception as error:
            return self._after_failed_batch(page, error)
        if handled:
            self._succeeded()
        return True

    def _after_failed_batch(self, page: Page, error: Exception) -> bool:
        if not classify(error).parks and not self._blames_the_event():
            raise self._world_failed(error, None) from error
        rest = page.above(self.position)
        if len(rest.events) > 1:
            logger.warning(
                "Batch failed, replayed one event at a time",
                extra={
                    "subscription": self._subscription.name,
                    "error_message": describe(error),
                    "events": len(rest.events),
                },
            )
        return self._deliver_singly(rest)

    def _parts(self, page: Page) -> Sequence[Page]:
        """Return what is to share a commit: the page, or with EVERY_EVENT each event."""
        return (
            page.batches(1) if self._config.checkpoint_strategy is CheckpointStrategy.EVERY_EVENT else [page]
        )

    def _deliver_singly(self, page: Page) -> bool:
        for recorded in page.events:
            if self._stopping():
                return False
            self._deliver_one(recorded)
        if self.position < page.through and not self._holds_run(page):
            self._commit_with_run(Page(self.position, [], page.through))
        return True

    def _holds_run(self, page: Page) -> bool:
        """Say whether the next page is to tell what the run means; not once it is longer than what may be kept in memory."""
        longest = max(self._config.in_flight_limit, self._config.circuit_breaker_failure_threshold)
        return bool(self._run) and not page.at_end and len(self._run.failures) < longest

    def _deliver_one(self, recorded: RecordedEvent) -> None:
        try:
            if self._careful:
                self._careful.mark(recorded)
            handled = self._commit_with_run(Page(self.position, [recorded], recorded.position))
        except Interruption:
            raise
        except Exception as error:
            self._event_failed(recorded, error)
        else:
            if handled:
                self._succeeded()

    def _commit_with_run(self, page: Page) -> bool:
        """Attempt a page; when it handles an event, or none is left, the run's parks commit with it."""
        if page.events and self._run.passes_over(page.events[0], self._attempts.blocked()):
            return False  # a follower: passed once the run is parked
        try:
            handled = self._attempts.attempt(page)
        except DeadLetterLimitError as error:
            self._tell(error.recorded, error, ErrorCategory.APPLICATION)
            self._stop(str(error), error)
        return handled > 0

    def _succeeded(self) -> None:
        self._world_failures = 0
        self._breaker.succeeded()

    def _event_failed(self, recorded: RecordedEvent, error: Exception) -> None:
        if self._stopping() and was_cancelled(error):
            raise CutShortError(self._subscription.name) from error
        classification = classify(error)
        if not classification.parks and not (self._blames_the_event() and self._database_answers()):
            raise self._world_failed(error, recorded) from error
        delay = delay_before(1, self._config) if classification.retryable else None
        classification = when_exhausted(classification, delay)
        self._attempts.count_failed()
        self._report(recorded, error, classification, 0)
        if not self._config.continue_on_error:
            self._stop(
                f"{recorded.event_type} at position {recorded.position} failed: {describe(error)}", error
            )
        self._run.add(Failure(recorded, error, classification, delay))
        if self._breaker.failed(len(self._run.aggregates)):
            self._open_breaker(error)
        if not self._config.circuit_breaker_enabled:
            # Nobody asks what the run means. Held back, each further attempt would park all of it again.
            self._commit_with_run(Page(self.position, [], recorded.position))

    def _open_breaker(self, error: Exception) -> None:
        count = len(self._run.failures)
        self._run.clear()
        sentence = f"{count} events of different aggregates failed in a row, the last with: {describe(error)}"
        with transaction.atomic(using=self._using):
            checkpoints.note_breaker(self._using, self._lease, "open", sentence, self._attempts.take_failed())
        opened = BreakerOpenedError(f"Circuit breaker opened: {sentence}")
        self._tell(None, opened, ErrorCategory.INFRASTRUCTURE)
        raise BreakerOpenedError(sentence)

    def _stop(self, sentence: str, error: BaseException) -> NoReturn:
        self._run.clear()
        checkpoints.stop(self._using, self._lease, sentence, describe(error), self._attempts.take_failed())
        raise StoppedError(sentence) from error

    def _blames_the_event(self) -> bool:
        """A fault of the world that comes again and again at one place is the event's own."""
        return self._world_failures > self._config.max_retries

    def _world_failed(self, error: Exception, recorded: RecordedEvent | None) -> WorldError:
        self._run.clear()
        self._report(recorded, error, classify(error), self._world_failures)
        if self._database_answers():
            self._world_failures += 1
        return WorldError(error)

    def _database_answers(self) -> bool:
        connection = connections[self._using]
        try:
            connection.close_if_unusable_or_obsolete()
            connection.ensure_connection()
            return connection.is_usable()
        except Exception:
            return False

    def _tell(self, recorded: RecordedEvent | None, error: BaseException, category: ErrorCategory) -> None:
        self._callbacks.tell(critical_info(self._subscription.name, recorded, error, category))

    def _report(
        self,
        recorded: RecordedEvent | None,
        error: BaseException,
        classification: ErrorClassification,
        retry_count: int,
    ) -> None:
        self._callbacks.report(
            error_info(self._subscription.name, recorded, error, classification, retry_count)
        )
