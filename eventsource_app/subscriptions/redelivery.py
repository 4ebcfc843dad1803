"""Redelivery: trying dead letters again, and then the later events of their aggregate, in order.

Each event is an attempt of its own, under the checkpoint row's lock, through the same handlers as everything else.
"""

from django.db import transaction

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.streams import StreamId
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.checkpoints import Interruption, Lease, Progress
from eventsource_app.subscriptions.dead_letters import Failure, OpenLetter
from eventsource_app.subscriptions.delivery import WorldError, error_info, run_handlers, when_exhausted
from eventsource_app.subscriptions.errors import ErrorCallbacks, classify
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.retry import delay_before


class _Failed(Exception):  # noqa: N818 - carries a handler's failure out of the transaction that it undoes
    def __init__(self, letter: OpenLetter, recorded: RecordedEvent, error: Exception) -> None:
        self.letter, self.recorded, self.error = letter, recorded, error


class Redelivery:
    """Tries the dead letters of one leased partition."""

    def __init__(
        self, subscription: Subscription, using: str, lease: Lease, lease_seconds: float, callbacks: ErrorCallbacks
    ) -> None:
        self._subscription = subscription
        self._using = using
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._callbacks = callbacks
        self._store = EventStore(using)

    def retry_due(self) -> bool:
        """Try the earliest letter that is due, or the next follower of one; say whether there was any."""
        lease = self._lease
        letter = dead_letters.find_due(self._using, lease.subscription, lease.partition, lease.partition_count)
        if letter is None:
            return False
        self.retry(letter.id, who="worker")
        return True

    def retry(self, letter_id: int, who: str) -> bool:
        """One attempt at a letter or at its next follower; False when it failed, or somebody else is at it."""
        try:
            return self._attempt(letter_id, who)
        except _Failed as failed:
            self._note_failure(failed)
            return False

    def _attempt(self, letter_id: int, who: str) -> bool:
        with transaction.atomic(using=self._using, durable=True):
            locked = checkpoints.lock(self._using, self._lease)
            letter = dead_letters.lock_letter(self._using, letter_id)
            if letter is None:
                return False
            recorded = self._next_event(letter, locked.position)
            if recorded is not None:
                self._handle(letter, recorded)
            goes_on = recorded is not None and letter.scope == "aggregate"
            dead_letters.mark_handled(self._using, letter.id, who, recorded.position if recorded and goes_on else None)
            progress = Progress(
                locked.position,
                processed=1 if recorded else 0,
                retries=1 if recorded and letter.replayed_through is None else 0,
                parked=0 if goes_on else 1,
            )
            checkpoints.advance(self._using, self._lease, locked.position, progress, self._lease_seconds)
        return True

    def _next_event(self, letter: OpenLetter, checkpoint: int) -> RecordedEvent | None:
        """Return the letter's own event, or the next one behind it that the checkpoint has passed."""
        stream = StreamId(letter.aggregate_type, letter.aggregate_id)
        if letter.replayed_through is None:
            return self._store.read_followers(stream, letter.position - 1, letter.position, None)[0]
        types = self._subscription.event_types
        found = self._store.read_followers(stream, letter.replayed_through, checkpoint, types)
        return found[0] if found else None

    def _handle(self, letter: OpenLetter, recorded: RecordedEvent) -> None:
        try:
            run_handlers(self._subscription, [recorded], lambda elapsed: False)
        except Interruption:
            raise
        except Exception as error:
            raise _Failed(letter, recorded, error) from error

    def _note_failure(self, failed: _Failed) -> None:
        """The letter waits for its next retry; a follower that failed gets a letter of its own."""
        classification = classify(failed.error)
        is_follower = failed.letter.replayed_through is not None
        retry_count = 0 if is_follower else failed.letter.retry_count + 1
        if not classification.parks:
            raise WorldError(failed.error) from failed.error
        delay = delay_before(retry_count + 1, self._subscription.config) if classification.retryable else None
        classification = when_exhausted(classification, delay)
        info = error_info(self._subscription.name, failed.recorded, failed.error, classification, retry_count)
        failure = Failure(failed.recorded, failed.error, classification, delay)
        with transaction.atomic(using=self._using, durable=True):
            locked = checkpoints.lock(self._using, self._lease)
            if dead_letters.lock_letter(self._using, failed.letter.id) is None:
                return
            if is_follower:
                dead_letters.park(self._using, self._subscription.name, failed.letter.scope, failure)
                dead_letters.mark_handled(self._using, failed.letter.id, "worker", None)
            else:
                dead_letters.mark_failed_again(self._using, failed.letter.id, failure)
            progress = Progress(
                locked.position, failed=1, retries=0 if is_follower else 1, parked=1, error=info.error_message
            )
            checkpoints.advance(self._using, self._lease, locked.position, progress, self._lease_seconds)
        self._callbacks.report(info)
