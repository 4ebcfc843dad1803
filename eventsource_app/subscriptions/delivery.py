"""Delivery: the only caller of handlers. One attempt is one transaction: lock, handle, dead letters, checkpoint.

A batch that fails is rolled back and replayed one event per transaction, which finds the event that failed. Failures
of one aggregate after another are a run, held back until it is known what they mean: the first success of another
aggregate (or the log's end) parks them, a run as long as the breaker's threshold drops them and opens the breaker.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from django.db import connections, transaction

from eventsource_app.observability.metrics import batch_seconds
from eventsource_app.store.notifications import tell_progress
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.transaction_ends import NOTHING
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.careful import CarefulMode
from eventsource_app.subscriptions.checkpoints import Lease, LockedCheckpoint, Progress
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.config import CheckpointStrategy
from eventsource_app.subscriptions.dead_letters import Aggregate, Failure, ParkedSet
from eventsource_app.subscriptions.errors import (
    ErrorCallbacks,
    ErrorCategory,
    ErrorClassification,
    classify,
    critical_info,
    describe,
    error_info,
    was_cancelled,
    when_exhausted,
)
from eventsource_app.subscriptions.failure_run import FailureRun, aggregate_of
from eventsource_app.subscriptions.handling import decode_ahead, is_for_the_process, run_handlers
from eventsource_app.subscriptions.interruptions import (
    BreakerOpenedError,
    CheckpointMovedError,
    CutShortError,
    DeadLetterLimitError,
    Interruption,
    LetterClosedError,
    StoppedError,
    WorldError,
)
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.retry import delay_before

logger = logging.getLogger("eventsource.worker")


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an attempt: seconds of one lease, whether to come to an end early; ``beat`` shows that it moves."""

    lease_seconds: float
    stopping: Callable[[], bool]
    beat: Callable[[], None] = lambda: None


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
        self._limits = limits
        self._callbacks = callbacks
        self._breaker = breaker
        self._parked = ParkedSet()
        self._parked_generation = -1
        self._run = FailureRun()
        self._failed = 0
        self._world_failures = 0
        self._careful = CarefulMode(using, lease, self._config.in_flight_limit)
        self._seconds = batch_seconds.labels(subscription.name)
        self._ahead = NOTHING
        self.upcoming: Callable[[], list[RecordedEvent]] = list
        self.current: RecordedEvent | None = None
        self.position = lease.position

    @property
    def has_open_letters(self) -> bool:
        """Say whether there may be letters to retry (unknown before the first look)."""
        return self._parked_generation < 0 or not self._parked.is_empty

    def know_parked(self, generation: int) -> None:
        """Load the parked set unless it is known at this generation."""
        if generation == self._parked_generation:
            return
        name, partition, count = self._subscription.name, self._lease.partition, self._lease.partition_count
        self._parked = dead_letters.load_parked(self._using, name, partition, count)
        self._parked_generation = generation

    def forget(self, position: int) -> None:
        """Start over at the committed position: whatever was decided and not committed is dropped."""
        self.position, self._parked_generation = position, -1
        self._run.clear()

    def deliver(self, page: Page) -> bool:
        """Handle a page; False when a stop cut it short, so that the rest must be read again.

        Raises ``WorldError``, ``BreakerOpenedError``, ``StoppedError``, ``NotRunningError``, ``CheckpointMovedError`` or
        ``LeaseLostError``; whatever was committed by then stands.
        """
        self._ahead = decode_ahead(page.events, self.upcoming)
        if self._run or self._careful or self._blames_the_event():
            return self._deliver_singly(page)
        handled = 0
        try:
            for part in self._parts(page):
                while self.position < part.through:
                    if part.events and self._limits.stopping():
                        return False
                    handled += self._attempt(part.above(self.position))
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
            if self._limits.stopping():
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
        if page.events and self._run.passes_over(page.events[0], self._blocked()):
            return False  # a follower: passed once the run is parked
        try:
            handled = self._attempt(page)
        except DeadLetterLimitError as error:
            self._tell(error.recorded, error, ErrorCategory.APPLICATION)
            self._stop(str(error), error)
        return handled > 0

    def _succeeded(self) -> None:
        self._world_failures = 0
        self._breaker.succeeded()

    def _blocked(self) -> frozenset[Aggregate]:
        return self._run.blocked(self._parked, self._config.dead_letter_scope)

    def _event_failed(self, recorded: RecordedEvent, error: Exception) -> None:
        if self._limits.stopping() and was_cancelled(error):
            raise CutShortError(self._subscription.name) from error
        classification = classify(error)
        if not classification.parks and not (self._blames_the_event() and self._database_answers()):
            raise self._world_failed(error, recorded) from error
        delay = delay_before(1, self._config) if classification.retryable else None
        classification = when_exhausted(classification, delay)
        self._failed += 1
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
            checkpoints.note_breaker(self._using, self._lease, "open", sentence, self._take_failed())
        opened = BreakerOpenedError(f"Circuit breaker opened: {sentence}")
        self._tell(None, opened, ErrorCategory.INFRASTRUCTURE)
        raise BreakerOpenedError(sentence)

    def _stop(self, sentence: str, error: BaseException) -> NoReturn:
        self._run.clear()
        checkpoints.stop(self._using, self._lease, sentence, describe(error), self._take_failed())
        raise StoppedError(sentence) from error

    def _attempt(self, page: Page) -> int:
        """One transaction; returns how many events ran a handler. The position moves only when it has committed."""
        self._limits.beat()
        committed: list[bool] = []
        parks = self._run.failures
        progress = Progress(self.position)
        try:
            with (
                self._seconds.time(),
                transaction.atomic(using=self._using, durable=True),
            ):
                transaction.on_commit(lambda: committed.append(True), using=self._using)
                locked = self._lock()
                blocked = self._blocked()
                if self._run.has_lost_sight(blocked):
                    raise LetterClosedError(self._subscription.name, locked.position)
                self._park(parks)
                runnable = (
                    [r for r in page.events if aggregate_of(r) not in blocked] if blocked else page.events
                )
                through = self._handle(runnable) if runnable else None
                progress = Progress(
                    page.through if through is None else through,
                    processed=sum(r.position <= through for r in runnable) if through else len(runnable),
                    failed=self._failed,
                    parked=1 if parks else 0,
                    error=describe(parks[-1].error) if parks else None,
                )
                checkpoints.advance(
                    self._using,
                    self._lease,
                    locked.position,
                    progress,
                    self._limits.lease_seconds,
                    self._ahead,
                )
        except BaseException as error:
            if not committed or is_for_the_process(error):
                raise
            # A handler's on_commit hook raised: the commit stands, so nothing is replayed.
            logger.exception(
                "An on_commit hook failed after the commit", extra={"error_message": describe(error)}
            )
        self.position = progress.position
        tell_progress(self._using)
        self._failed = 0
        for failure in parks:
            logger.warning("Event parked", extra={"subscription": self._subscription.name, **failure.told()})
        if parks:
            self._parked_generation = -1
            self._run.clear()
        return progress.processed

    def _handle(self, runnable: list[RecordedEvent]) -> int | None:
        self.current = runnable[0]
        try:
            return run_handlers(self._subscription, runnable, self._must_cut)
        finally:
            self.current = None

    def _lock(self) -> LockedCheckpoint:
        locked = checkpoints.lock(self._using, self._lease, self._ahead)
        locked.check_running(self._subscription.name)
        if locked.position != self.position:
            raise CheckpointMovedError(self._subscription.name, self.position, locked.position)
        self.know_parked(locked.parked_generation)
        return locked

    def _park(self, parks: Sequence[Failure]) -> None:
        if not parks:
            return
        name, limit = self._subscription.name, self._config.max_dead_letters
        try:
            if limit is not None and dead_letters.count_open(self._using, name) + len(parks) > limit:
                raise DeadLetterLimitError(name, limit, parks[-1].recorded)
            for failure in parks:
                dead_letters.park(self._using, name, self._config.dead_letter_scope, failure)
        except DeadLetterLimitError:
            raise
        except Exception as error:
            raise WorldError(error) from error

    def _must_cut(self, elapsed: float) -> bool:
        """Say whether an attempt must end at this event: a stop, or a third of the lease has gone by."""
        limit = self._limits.lease_seconds / 3
        if self._config.checkpoint_strategy is CheckpointStrategy.PERIODIC:
            limit = min(limit, self._config.checkpoint_interval_seconds)
        return elapsed > limit or self._limits.stopping()

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

    def _take_failed(self) -> int:
        failed, self._failed = self._failed, 0
        return failed

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
