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
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.checkpoints import Lease, LockedCheckpoint, Progress
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.config import CheckpointStrategy
from eventsource_app.subscriptions.dead_letters import Aggregate, Failure, ParkedSet
from eventsource_app.subscriptions.errors import (
    ErrorCallbacks,
    ErrorCategory,
    ErrorClassification,
    ErrorSeverity,
    ProcessKillerError,
    classify,
    describe,
    error_info,
    when_exhausted,
)
from eventsource_app.subscriptions.handling import run_handlers
from eventsource_app.subscriptions.interruptions import (
    BreakerOpenedError,
    CheckpointMovedError,
    DeadLetterLimitError,
    Interruption,
    LetterClosedError,
    NotRunningError,
    StoppedError,
    WorldError,
)
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.retry import delay_before

logger = logging.getLogger("eventsource.worker")
# So many owners must have died at one position before events are tried alone, and so many of one event to park it.
CAREFUL_AFTER = 2
DEATHS_TO_PARK = 2


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
        self._run: list[Failure] = []
        self._passed: set[Aggregate] = set()  # over whose events the run has gone, since they were parked
        self._failed = 0
        self._world_failures = 0
        died_here = lease.unclean_takeover_count >= CAREFUL_AFTER or lease.careful_position is not None
        self._careful_events = self._config.in_flight_limit if died_here else 0
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
        self.position, self._run, self._parked_generation = position, [], -1
        self._passed.clear()

    def deliver(self, page: Page) -> bool:
        """Handle a page; False when a stop cut it short, so that the rest must be read again.

        Raises ``WorldError``, ``BreakerOpenedError``, ``StoppedError``, ``NotRunningError``, ``CheckpointMovedError`` or
        ``LeaseLostError``; whatever was committed by then stands.
        """
        if self._run or self._careful_events > 0 or self._blames_the_event():
            return self._deliver_singly(page)
        handled = 0
        try:
            for part in self._parts(page):
                while self.position < part.through:
                    if part.events and self._limits.stopping():
                        return False
                    handled += self._attempt(
                        Page(self.position, _above(part.events, self.position), part.through)
                    )
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
        rest = Page(self.position, _above(page.events, self.position), page.through, page.at_end)
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
        if self._config.checkpoint_strategy is not CheckpointStrategy.EVERY_EVENT or len(page.events) < 2:
            return [page]
        parts = [Page(self.position, [r], r.position) for r in page.events]
        return [*parts[:-1], Page(page.after, page.events[-1:], page.through, page.at_end)]

    def _deliver_singly(self, page: Page) -> bool:
        for recorded in page.events:
            if self._limits.stopping():
                return False
            self._deliver_one(recorded)
        holds_run = self._run and not page.at_end  # the next page tells what the run means
        if self.position < page.through and not holds_run:
            self._commit_run(Page(self.position, [], page.through))
        return True

    def _deliver_one(self, recorded: RecordedEvent) -> None:
        try:
            if self._careful_events > 0:
                self._mark(recorded)
            handled = self._commit_run(Page(self.position, [recorded], recorded.position))
        except Interruption:
            raise
        except Exception as error:
            self._event_failed(recorded, error)
        else:
            if handled:
                self._succeeded()

    def _mark(self, recorded: RecordedEvent) -> None:
        """Processes died here: commit which event is tried, and do not try one that has killed twice."""
        self._careful_events -= 1
        lease = self._lease
        if recorded.position == lease.careful_position and lease.careful_death_count >= DEATHS_TO_PARK:
            raise ProcessKillerError(recorded, lease.careful_death_count)
        checkpoints.mark(self._using, lease, recorded.position)

    def _commit_run(self, page: Page) -> bool:
        """Attempt a page; when it handles an event, or none is left, the run's parks commit with it."""
        if self._run and page.events and _aggregate(page.events[0]) in self._blocked(self._run):
            self._passed.add(_aggregate(page.events[0]))
            return False  # a follower: passed once the run is parked
        try:
            handled = self._attempt(page, self._run)
        except DeadLetterLimitError as error:
            self._tell(error.recorded, error, ErrorCategory.APPLICATION)
            self._stop(str(error), error)
        self._run = []
        self._passed.clear()
        return handled > 0

    def _succeeded(self) -> None:
        self._world_failures = 0
        self._breaker.succeeded()

    def _blocked(self, parks: Sequence[Failure]) -> frozenset[Aggregate]:
        """Return the aggregates whose events wait, with those that are about to be parked."""
        if self._config.dead_letter_scope == "event":
            return self._parked.aggregates
        return self._parked.aggregates | {failure.aggregate for failure in parks}

    def _event_failed(self, recorded: RecordedEvent, error: Exception) -> None:
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
        self._run.append(Failure(recorded, error, classification, delay))
        if self._breaker.failed(len({failure.aggregate for failure in self._run})):
            self._open_breaker(error)

    def _open_breaker(self, error: Exception) -> None:
        count, self._run = len(self._run), []
        sentence = f"{count} events of different aggregates failed in a row, the last with: {describe(error)}"
        with transaction.atomic(using=self._using):
            checkpoints.note_breaker(self._using, self._lease, "open", sentence, self._take_failed())
        opened = BreakerOpenedError(f"Circuit breaker opened: {sentence}")
        self._tell(None, opened, ErrorCategory.INFRASTRUCTURE)
        raise BreakerOpenedError(sentence)

    def _stop(self, sentence: str, error: BaseException) -> NoReturn:
        self._run = []
        checkpoints.stop(self._using, self._lease, sentence, describe(error), self._take_failed())
        raise StoppedError(sentence) from error

    def _attempt(self, page: Page, parks: Sequence[Failure] = ()) -> int:
        """One transaction; returns how many events ran a handler. The position moves only when it has committed."""
        self._limits.beat()
        committed: list[bool] = []
        progress = Progress(self.position)
        try:
            with (
                batch_seconds.labels(self._subscription.name).time(),
                transaction.atomic(using=self._using, durable=True),
            ):
                transaction.on_commit(lambda: committed.append(True), using=self._using)
                locked = self._lock()
                if self._passed - self._blocked(parks):  # by now nobody would replay what was passed over
                    raise LetterClosedError(self._subscription.name, locked.position)
                self._park(parks)
                runnable = self._runnable(page.events, parks)
                through = self._handle(runnable) if runnable else None
                progress = Progress(
                    page.through if through is None else through,
                    processed=sum(r.position <= through for r in runnable) if through else len(runnable),
                    failed=self._failed,
                    parked=1 if parks else 0,
                    error=describe(parks[-1].error) if parks else None,
                )
                checkpoints.advance(
                    self._using, self._lease, locked.position, progress, self._limits.lease_seconds
                )
        except Exception as error:
            if not committed:
                raise
            # A handler's on_commit hook raised: the commit stands, so nothing is replayed.
            logger.exception(
                "An on_commit hook failed after the commit", extra={"error_message": describe(error)}
            )
        self.position = progress.position
        tell_progress(self._using)
        self._failed = 0
        if parks:
            self._parked_generation = -1
        return progress.processed

    def _handle(self, runnable: list[RecordedEvent]) -> int | None:
        self.current = runnable[0]
        try:
            return run_handlers(self._subscription, runnable, self._must_cut)
        finally:
            self.current = None

    def _lock(self) -> LockedCheckpoint:
        locked = checkpoints.lock(self._using, self._lease)
        if locked.state != "running":
            raise NotRunningError(self._subscription.name, locked.state)
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

    def _runnable(self, events: list[RecordedEvent], parks: Sequence[Failure]) -> list[RecordedEvent]:
        blocked = self._blocked(parks)
        return [r for r in events if _aggregate(r) not in blocked] if blocked else events

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
        self._run = []
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
        """What befalls the whole subscription is critical, whatever began it."""
        critical = ErrorClassification(category, ErrorSeverity.CRITICAL)
        self._callbacks.tell(error_info(self._subscription.name, recorded, error, critical, 0))

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


def _aggregate(recorded: RecordedEvent) -> Aggregate:
    return recorded.aggregate_type, str(recorded.aggregate_id)


def _above(events: list[RecordedEvent], position: int) -> list[RecordedEvent]:
    return (
        events
        if not events or events[0].position > position
        else [r for r in events if r.position > position]
    )
