"""Redelivery: trying dead letters again, and then the later events of their aggregate, in order.

Each event is an attempt of its own, under the checkpoint row's lock, through the same handlers as everything else. The
worker that owns the partition does it between batches; an operator's process does it without owning anything.
"""

import enum
import logging
from dataclasses import dataclass, replace

from django.db import transaction

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.streams import StreamId
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.checkpoints import Lease, LockedCheckpoint, Progress
from eventsource_app.subscriptions.dead_letters import Failure, OpenLetter
from eventsource_app.subscriptions.errors import (
    ErrorCallbacks,
    ErrorClassification,
    ErrorInfo,
    ErrorSeverity,
    classify,
    describe,
    error_info,
)
from eventsource_app.subscriptions.handling import run_handlers
from eventsource_app.subscriptions.interruptions import Interruption, LeaseLostError, WorldError
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.retry import delay_before

logger = logging.getLogger("eventsource.worker")


class Outcome(enum.Enum):
    """How one attempt at a letter ended."""

    HANDLED = "handled"  # and a later event of its aggregate may wait
    CLOSED = "closed"  # and nothing waits behind it any more
    FAILED = "failed"
    TAKEN = "taken"  # somebody else closed it, or is at it, or has just tried it


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: at which position, and what it failed with."""

    outcome: Outcome
    position: int | None = None
    error: str | None = None


class MissingEventError(Interruption):
    """The log does not have the letter's event any more: it was restored from a backup."""

    def __init__(self, name: str, position: int) -> None:
        super().__init__(
            f"The log has no event at position {position}, where a dead letter of {name} is; discard the letter, or run "
            f"`manage.py rebuild_projection {name}`."
        )


class _Trial:
    """What must be known of an attempt after its transaction is gone."""

    def __init__(self) -> None:
        self.letter: OpenLetter | None = None
        self.recorded: RecordedEvent | None = None
        self.committed = False

    def commit(self) -> None:
        self.committed = True


class Redelivery:
    """Tries the dead letters of one leased partition."""

    def __init__(
        self,
        subscription: Subscription,
        using: str,
        lease: Lease,
        lease_seconds: float,
        callbacks: ErrorCallbacks,
        store: EventStore | None = None,
    ) -> None:
        self._subscription = subscription
        self._using = using
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._callbacks = callbacks
        self._store = store or EventStore(using)
        self._world_failures: dict[int, int] = {}

    def retry_due(self) -> bool:
        """Try the earliest letter that is due, or the next follower of one; say whether there was any."""
        lease = self._lease
        letter = dead_letters.find_due(
            self._using, lease.subscription, lease.partition, lease.partition_count
        )
        if letter is None:
            return False
        self.retry(letter.id, who="worker")
        return True

    def retry(self, letter_id: int, who: str, seen: OpenLetter | None = None) -> Attempt:
        """One attempt at a letter or at its next follower.

        With ``seen``, only if the letter is still as it was seen: who waited for the row's lock while somebody else tried
        it is told so. Raises ``WorldError`` when the fault is neither the event's nor its handler's.
        """
        trial = _Trial()
        try:
            return self._attempt(letter_id, who, seen, trial)
        except Interruption:
            raise
        except Exception as error:
            if trial.letter is None or trial.recorded is None:
                raise
            if trial.committed:
                # A handler's on_commit hook raised: the commit stands.
                logger.exception(
                    "An on_commit hook failed after the commit", extra={"error_message": describe(error)}
                )
                return Attempt(Outcome.HANDLED, trial.recorded.position)
            return self._failed(trial.letter, trial.recorded, error, who)

    def _attempt(self, letter_id: int, who: str, seen: OpenLetter | None, trial: _Trial) -> Attempt:
        with transaction.atomic(using=self._using, durable=True):
            transaction.on_commit(trial.commit, using=self._using)
            locked = self._lock()
            letter = dead_letters.lock_letter(self._using, letter_id)
            if letter is None or (seen is not None and letter != seen):
                return Attempt(Outcome.TAKEN)
            recorded = self._next_event(letter, locked.position)
            if recorded is not None:
                trial.letter, trial.recorded = letter, recorded
                run_handlers(self._subscription, [recorded], lambda elapsed: False)
            goes_on = recorded is not None and letter.scope == "aggregate"
            dead_letters.mark_handled(
                self._using, letter.id, who, recorded.position if recorded and goes_on else None
            )
            self._count(
                locked,
                processed=1 if recorded else 0,
                retries=1 if recorded and letter.replayed_through is None else 0,
                parked=0 if goes_on else 1,
            )
        self._world_failures.pop(letter_id, None)
        return Attempt(
            Outcome.HANDLED if goes_on else Outcome.CLOSED, recorded.position if recorded else None
        )

    def _lock(self) -> LockedCheckpoint:
        return checkpoints.lock(self._using, self._lease)

    def _count(
        self,
        locked: LockedCheckpoint,
        *,
        processed: int = 0,
        failed: int = 0,
        retries: int,
        parked: int,
        error: str | None = None,
    ) -> None:
        progress = Progress(locked.position, processed, failed, retries, parked, error)
        self._write(locked, progress)

    def _write(self, locked: LockedCheckpoint, progress: Progress) -> None:
        checkpoints.advance(self._using, self._lease, locked.position, progress, self._lease_seconds)

    def _next_event(self, letter: OpenLetter, checkpoint: int) -> RecordedEvent | None:
        """Return the letter's own event, or the next one behind it that the checkpoint has passed."""
        stream = StreamId(letter.aggregate_type, letter.aggregate_id)
        if letter.replayed_through is None:
            own = self._store.read_followers(stream, letter.position - 1, letter.position, None)
            if not own:
                raise MissingEventError(self._subscription.name, letter.position)
            return own[0]
        types = self._subscription.event_types
        found = self._store.read_followers(stream, letter.replayed_through, checkpoint, types)
        return found[0] if found else None

    def _failed(self, letter: OpenLetter, recorded: RecordedEvent, error: Exception, who: str) -> Attempt:
        """The letter waits for its next retry; a follower that failed gets a letter of its own."""
        classification = classify(error)
        if not classification.parks and not self._blames_the_event(letter.id):
            raise WorldError(error) from error
        is_follower = letter.replayed_through is not None
        retry_count = 0 if is_follower else letter.retry_count + 1
        info = error_info(self._subscription.name, recorded, error, classification, retry_count)
        delay = delay_before(retry_count + 1, self._subscription.config) if classification.retryable else None
        if not self._note_failure(letter, Failure(recorded, error, classification, delay), who):
            return Attempt(Outcome.TAKEN)
        self._callbacks.report(info)
        if delay is None:
            self._report_dead(info, classification)
        return Attempt(Outcome.FAILED, recorded.position, info.error_message)

    def _blames_the_event(self, letter_id: int) -> bool:
        """A fault of the world that comes again and again at one event, while the lock could be taken, is its own."""
        self._world_failures[letter_id] = self._world_failures.get(letter_id, 0) + 1
        return self._world_failures[letter_id] > self._subscription.config.max_retries

    def _note_failure(self, letter: OpenLetter, failure: Failure, who: str) -> bool:
        """Write the failure down, unless the letter was closed or tried in between."""
        is_follower = letter.replayed_through is not None
        with transaction.atomic(using=self._using, durable=True):
            locked = self._lock()
            if dead_letters.lock_letter(self._using, letter.id) != letter:
                return False
            if is_follower:
                dead_letters.park(self._using, self._subscription.name, letter.scope, failure)
                dead_letters.mark_handled(self._using, letter.id, who, None)
            else:
                dead_letters.mark_failed_again(self._using, letter.id, failure)
            self._count(
                locked, failed=1, retries=0 if is_follower else 1, parked=1, error=describe(failure.error)
            )
        return True

    def _report_dead(self, info: ErrorInfo, classification: ErrorClassification) -> None:
        """Retries have run out: from here on it is an operator's."""
        self._callbacks.report(
            replace(info, classification=replace(classification, severity=ErrorSeverity.CRITICAL))
        )


class DeskRedelivery(Redelivery):
    """The same in an operator's process: under the same row lock, beside whoever owns the lease, which stays as it is."""

    def __init__(
        self, subscription: Subscription, store: EventStore, slot: int, callbacks: ErrorCallbacks
    ) -> None:
        no_lease = Lease(0, subscription.name, 0, 1, 0, 0)
        super().__init__(subscription, store.using, no_lease, 0, callbacks, store)
        self._slot = slot

    def _lock(self) -> LockedCheckpoint:
        locked = checkpoints.lock_slot(self._using, self._subscription.name, self._slot)
        if locked is None:
            raise LeaseLostError(self._subscription.name, self._slot)
        return locked

    def _write(self, locked: LockedCheckpoint, progress: Progress) -> None:
        checkpoints.count(self._using, self._subscription.name, self._slot, progress)
