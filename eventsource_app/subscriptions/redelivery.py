"""Redelivery: trying dead letters again, and then the later events of their aggregate, in order.

Each event is an attempt of its own, under the checkpoint row's lock, through the same handlers as everything else. The
worker that owns the partition does it between batches; an operator's process does it without owning anything.
"""

import enum
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, transaction

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.notifications import tell_progress
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.streams import StreamId
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.careful import DEATHS_TO_PARK
from eventsource_app.subscriptions.checkpoints import Counts, Lease, LockedCheckpoint
from eventsource_app.subscriptions.dead_letters import Failure, OpenLetter
from eventsource_app.subscriptions.errors import (
    ProcessKillerError,
    classify,
    describe,
    is_for_the_process,
    was_cancelled,
    when_exhausted,
)
from eventsource_app.subscriptions.handling import run_handlers
from eventsource_app.subscriptions.interruptions import (
    CutShortError,
    Interruption,
    LeaseLostError,
    WorldError,
)
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks, error_info
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
    """An attempt that was announced: the letter with its mark, and the event that is to be handled."""

    def __init__(self, letter: OpenLetter, recorded: RecordedEvent) -> None:
        self.letter = letter
        self.recorded = recorded
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
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._subscription = subscription
        self._using = using
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._callbacks = callbacks
        self._store = store or EventStore(using)
        self._stopping = stopping
        self._world_failures: dict[int, int] = {}
        # Marks of our own that are no deaths: an outage kept us from taking them back.
        self._unended: set[int] = set()
        self.current: RecordedEvent | None = None

    def retry_due(self) -> bool:
        """Try the earliest letter that is due, or the next follower of one; say whether there was any."""
        lease = self._lease
        letter = dead_letters.find_due(
            self._using, lease.subscription, lease.partition, lease.partition_count, self._lease_seconds
        )
        if letter is None:
            return False
        if letter.state == "retrying" and not letter.is_automatic:
            self._unmark(letter)  # an operator's process died of it; it is an operator's again
            return True
        try:
            self.retry(letter.id, who="worker")
        except MissingEventError as error:
            self._give_up(letter, error)
        return True

    def retry(self, letter_id: int, who: str, seen: OpenLetter | None = None) -> Attempt:
        """One attempt at a letter or at its next follower.

        With ``seen``, only if the letter is still as it was seen: who waited for the row's lock while somebody else tried
        it is told so. Raises ``WorldError`` when the fault is neither the event's nor its handler's.
        """
        trial = self._begin(letter_id, who, seen)
        if isinstance(trial, Attempt):
            return trial
        letter, recorded = trial.letter, trial.recorded
        try:
            if letter.lost_attempt_count >= DEATHS_TO_PARK:
                raise ProcessKillerError(recorded, letter.lost_attempt_count)
            self.current = recorded
            attempt = self._attempt(trial, who)
        except BaseException as error:
            self._pass_on(letter, error)
            if not trial.committed:
                return self._failed(letter, recorded, error, who)
            # A handler's on_commit hook raised: the commit stands.
            logger.exception(
                "An on_commit hook failed after the commit", extra={"error_message": describe(error)}
            )
            attempt = Attempt(Outcome.HANDLED, recorded.position)
        finally:
            self.current = None
        self._unended.discard(letter_id)
        self._world_failures.pop(letter_id, None)
        if attempt.outcome is not Outcome.TAKEN and not letter.is_follower_next:
            about = {"subscription": self._subscription.name, "who": who, **dead_letters.told_of(recorded)}
            logger.info("Parked event handled", extra=about)
        return attempt

    def _pass_on(self, letter: OpenLetter, error: BaseException) -> None:
        """Raise what says nothing of the event; it is no death of it either, so the mark is taken back."""
        ends = is_for_the_process(error)
        if isinstance(error, Interruption) or (ends and isinstance(error, KeyboardInterrupt)):
            self._unmark(letter)
        if ends or isinstance(error, Interruption):
            raise error
        if self._stopping() and was_cancelled(error):
            self._unmark(letter)
            raise CutShortError(self._subscription.name) from error

    def _begin(self, letter_id: int, who: str, seen: OpenLetter | None) -> _Trial | Attempt:
        """Commit which event is tried next, before it is; or close the letter when nothing waits behind it any more."""
        with transaction.atomic(using=self._using, durable=True):
            locked = self._lock_to_run()
            letter = dead_letters.lock_letter(self._using, letter_id)
            if letter is None or (seen is not None and letter != seen):
                return Attempt(Outcome.TAKEN)
            recorded = self._next_event(letter, locked.position)
            if recorded is None:
                dead_letters.mark_handled(self._using, letter.id, who, None)
                self._count(Counts(parked=1))
                return Attempt(Outcome.CLOSED)
            lost_count = self._lost_count(letter, recorded)
            dead_letters.mark_tried(self._using, letter.id, recorded.position, lost_count)
            self._unended.add(letter.id)
            marked = dead_letters.lock_letter(self._using, letter.id)
        return _Trial(marked, recorded) if marked else Attempt(Outcome.TAKEN)

    def _lost_count(self, letter: OpenLetter, recorded: RecordedEvent) -> int:
        """Return how many processes have died of this event: we hold the row, so a mark on it is nobody's any more."""
        if letter.tried_position != recorded.position:
            return 0
        return letter.lost_attempt_count + (letter.id not in self._unended)

    def _attempt(self, trial: _Trial, who: str) -> Attempt:
        letter, recorded = trial.letter, trial.recorded
        with transaction.atomic(using=self._using, durable=True):
            transaction.on_commit(trial.commit, using=self._using)
            self._lock_to_run()
            if dead_letters.lock_letter(self._using, letter.id) != letter:
                return Attempt(Outcome.TAKEN)
            run_handlers(self._subscription, self._using, [recorded], lambda elapsed: False)
            checkpoints.check_lock(self._using)
            goes_on = letter.scope == "aggregate"
            dead_letters.mark_handled(self._using, letter.id, who, recorded.position if goes_on else None)
            self._count(
                Counts(processed=1, retries=int(not letter.is_follower_next), parked=int(not goes_on))
            )
        tell_progress(self._using)
        return Attempt(Outcome.HANDLED if goes_on else Outcome.CLOSED, recorded.position)

    def _give_up(self, letter: OpenLetter, error: MissingEventError) -> None:
        logger.error(str(error), extra={"subscription": self._subscription.name, "position": letter.position})
        with transaction.atomic(using=self._using, durable=True):
            self._lock()
            if dead_letters.lock_letter(self._using, letter.id) == letter:
                dead_letters.give_up(self._using, letter.id, str(error))
                self._count(Counts(parked=1, error=str(error)))

    def _unmark(self, letter: OpenLetter) -> None:
        """Take the mark back; while the database is away it stays, and we remember that it tells of no death."""
        with suppress(Interruption, DatabaseError, InterfaceError):
            with transaction.atomic(using=self._using, durable=True):
                self._lock()
                if dead_letters.lock_letter(self._using, letter.id) == letter:
                    dead_letters.unmark(self._using, letter.id)
            self._unended.discard(letter.id)

    def _lock(self) -> LockedCheckpoint:
        return checkpoints.lock(self._using, self._lease)

    def _lock_to_run(self) -> LockedCheckpoint:
        """The lock for a handler to run."""
        locked = self._lock()
        locked.check_running(self._subscription.name)
        return locked

    def _count(self, counts: Counts) -> None:
        checkpoints.count_owned(self._using, self._lease, counts, self._lease_seconds)

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

    def _failed(self, letter: OpenLetter, recorded: RecordedEvent, error: BaseException, who: str) -> Attempt:
        """The letter waits for its next retry; a follower that failed gets a letter of its own."""
        classification = classify(error)
        if not classification.parks and not self._blames_the_event(letter.id):
            self._unmark(letter)
            raise WorldError(error) from error
        retry_count = 0 if letter.is_follower_next else letter.retry_count + 1
        delay = delay_before(retry_count + 1, self._subscription.config) if classification.retryable else None
        classification = when_exhausted(classification, delay)
        if not self._note_failure(letter, Failure(recorded, error, classification, delay), who):
            return Attempt(Outcome.TAKEN)
        self._unended.discard(letter.id)
        info = error_info(self._subscription.name, recorded, error, classification, retry_count)
        self._callbacks.report(info)
        return Attempt(Outcome.FAILED, recorded.position, info.error_message)

    def _blames_the_event(self, letter_id: int) -> bool:
        """A fault of the world that comes again and again at one event, while the lock could be taken, is its own."""
        self._world_failures[letter_id] = self._world_failures.get(letter_id, 0) + 1
        return self._world_failures[letter_id] > self._subscription.config.max_retries

    def _note_failure(self, letter: OpenLetter, failure: Failure, who: str) -> bool:
        """Write the failure down, unless the letter was closed or tried in between."""
        is_follower = letter.is_follower_next
        with transaction.atomic(using=self._using, durable=True):
            self._lock()
            if dead_letters.lock_letter(self._using, letter.id) != letter:
                return False
            if is_follower:
                dead_letters.park(self._using, self._subscription.name, letter.scope, failure)
                dead_letters.mark_handled(self._using, letter.id, who, None)
            else:
                dead_letters.mark_failed_again(self._using, letter.id, failure)
            self._count(
                Counts(failed=1, retries=int(not is_follower), parked=1, error=describe(failure.error))
            )
        return True


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

    def _lock_to_run(self) -> LockedCheckpoint:
        """An operator may try a letter while everything else is paused."""
        return self._lock()

    def _count(self, counts: Counts) -> None:
        checkpoints.count(self._using, self._subscription.name, self._slot, counts)
