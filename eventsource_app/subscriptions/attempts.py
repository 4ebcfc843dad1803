"""Attempts: each is one transaction that locks the checkpoint, hands events to the handlers, parks what failed, and moves on."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import transaction

from eventsource_app.observability.metrics import batch_seconds
from eventsource_app.store.notifications import tell_progress
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.transaction_ends import NOTHING, Meanwhile
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.checkpoints import Counts, Lease, LockedCheckpoint
from eventsource_app.subscriptions.config import CheckpointStrategy
from eventsource_app.subscriptions.dead_letters import Aggregate, Failure, ParkedSet
from eventsource_app.subscriptions.errors import describe, is_for_the_process
from eventsource_app.subscriptions.failure_run import FailureRun, aggregate_of
from eventsource_app.subscriptions.handling import run_handlers
from eventsource_app.subscriptions.interruptions import (
    CheckpointMovedError,
    DeadLetterLimitError,
    LetterClosedError,
    WorldError,
)
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription

logger = logging.getLogger("eventsource.worker")


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds an attempt: seconds of one lease, whether to come to an end early; ``beat`` shows that it moves."""

    lease_seconds: float
    stopping: Callable[[], bool]
    beat: Callable[[], None] = lambda: None


class Attempts:
    """The attempts at one leased partition, from ``position`` on. What fails is kept in ``run`` and parked by the next that commits."""

    def __init__(
        self, subscription: Subscription, using: str, lease: Lease, limits: Limits, run: FailureRun
    ) -> None:
        self._subscription = subscription
        self._config = subscription.config
        self._using = using
        self._lease = lease
        self._limits = limits
        self._run = run
        self._parked = ParkedSet()
        self._parked_generation = -1
        self._failed = 0
        self._seconds = batch_seconds.labels(subscription.name)
        self.meanwhile: Meanwhile = NOTHING
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

    def blocked(self) -> frozenset[Aggregate]:
        """Return the aggregates whose events wait behind a letter, or behind a failure that is to become one."""
        return self._run.blocked(self._parked, self._config.dead_letter_scope)

    def forget(self, position: int) -> None:
        """Start over at the committed position: whatever was decided and not committed is dropped."""
        self.position, self._parked_generation = position, -1
        self._run.clear()

    def count_failed(self) -> None:
        """Note a failed attempt; the next transaction writes it down."""
        self._failed += 1

    def take_failed(self) -> int:
        """Return the failed attempts that are not written down yet, for another transaction to do it."""
        failed, self._failed = self._failed, 0
        return failed

    def attempt(self, page: Page) -> int:
        """One transaction; returns how many events ran a handler. The position moves only when it has committed."""
        self._limits.beat()
        committed: list[bool] = []
        parks = self._run.failures
        position, handled = self.position, 0
        try:
            with self._seconds.time(), transaction.atomic(using=self._using, durable=True):
                transaction.on_commit(lambda: committed.append(True), using=self._using)
                position, handled = self._advance(page, parks)
        except BaseException as error:
            if not committed or is_for_the_process(error):
                raise
            # A handler's on_commit hook raised: the commit stands, so nothing is replayed.
            logger.exception(
                "An on_commit hook failed after the commit", extra={"error_message": describe(error)}
            )
        self.position = position
        tell_progress(self._using)
        self._failed = 0
        if parks:
            self._have_parked(parks)
        return handled

    def _advance(self, page: Page, parks: Sequence[Failure]) -> tuple[int, int]:
        """Return the position that was reached and how many events were handled."""
        locked = self._lock()
        blocked = self.blocked()
        if self._run.has_lost_sight(blocked):
            raise LetterClosedError(self._subscription.name, locked.position)
        self._park(parks)
        runnable = [r for r in page.events if aggregate_of(r) not in blocked] if blocked else page.events
        cut_at = self._handle(runnable) if runnable else None
        position = page.through if cut_at is None else cut_at
        counts = Counts(
            processed=sum(recorded.position <= position for recorded in runnable),
            failed=self._failed,
            parked=1 if parks else 0,
            error=describe(parks[-1].error) if parks else None,
        )
        lease_seconds = self._limits.lease_seconds
        checkpoints.advance(
            self._using, self._lease, locked.position, position, counts, lease_seconds, self.meanwhile
        )
        return position, counts.processed

    def _lock(self) -> LockedCheckpoint:
        locked = checkpoints.lock(self._using, self._lease, self.meanwhile)
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

    def _have_parked(self, parks: Sequence[Failure]) -> None:
        for failure in parks:
            logger.warning("Event parked", extra={"subscription": self._subscription.name, **failure.told()})
        self._parked_generation = -1
        self._run.clear()

    def _handle(self, runnable: list[RecordedEvent]) -> int | None:
        self.current = runnable[0]
        try:
            return run_handlers(self._subscription, self._using, runnable, self._must_cut)
        finally:
            self.current = None

    def _must_cut(self, elapsed: float) -> bool:
        """Say whether an attempt must end at this event: a stop, or a third of the lease has gone by."""
        limit = self._limits.lease_seconds / 3
        if self._config.checkpoint_strategy is CheckpointStrategy.PERIODIC:
            limit = min(limit, self._config.checkpoint_interval_seconds)
        return elapsed > limit or self._limits.stopping()
