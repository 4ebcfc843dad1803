"""Dead letters: events that could not be handled, parked with the later events of their aggregate behind them.

Followers are not copied. They are the log's events of the aggregate between the letter and the checkpoint, and are
replayed in order once the letter is handled or discarded (``replayed_through`` says how far). Whoever changes a letter
holds the checkpoint row's lock and bumps its parked generation, so workers know when to load the parked set again.

Before a letter's event (or a follower) is tried, a mark is committed: ``tried_position`` and ``tried_at``. Whatever ends the
attempt takes it away, so a mark that is found was left by a process that died, and ``lost_attempt_count`` counts those.
"""

import traceback
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.session import execute, fetch_all
from eventsource_app.subscriptions.errors import ErrorClassification, describe, storable

OPEN: Final = "(state IN ('parked', 'retrying', 'dead') OR replayed_through IS NOT NULL)"
TRACEBACK_LIMIT: Final = 20_000
LETTER: Final = (
    "id, position, aggregate_type, aggregate_id, scope, state, retry_count, replayed_through,"
    " next_retry_at IS NOT NULL, tried_position, lost_attempt_count"
)
NOT_TRIED: Final = "tried_position = NULL, tried_at = NULL, lost_attempt_count = 0"

PARK: Final = f"""
INSERT INTO eventsource_app_deadletter (
    subscription, position, event_id, event_type, aggregate_type, aggregate_id, slot, scope, state, error_type,
    error_message, traceback, category, severity, retry_count, next_retry_at, closed_by, close_reason)
SELECT %(subscription)s, position, event_id, event_type, aggregate_type, aggregate_id, slot, %(scope)s, %(state)s,
       %(error_type)s, %(error_message)s, %(traceback)s, %(category)s, %(severity)s, 0,
       clock_timestamp() + make_interval(secs => %(delay)s), '', ''
  FROM eventsource_app_event WHERE position = %(position)s
ON CONFLICT (subscription, position) DO UPDATE SET
    scope = excluded.scope, state = excluded.state, error_type = excluded.error_type, error_message = excluded.error_message,
    traceback = excluded.traceback, category = excluded.category, severity = excluded.severity, retry_count = 0,
    next_retry_at = excluded.next_retry_at, replayed_through = NULL, last_failed_at = clock_timestamp(),
    closed_at = NULL, closed_by = '', close_reason = '', {NOT_TRIED}
"""  # noqa: S608 - constants only
PARKED_SET: Final = f"""
SELECT DISTINCT aggregate_type, aggregate_id::text, scope FROM eventsource_app_deadletter
 WHERE subscription = %s AND {OPEN} AND slot %% %s = %s
"""  # noqa: S608
# Who is at a letter holds the checkpoint row; one that has been tried for a whole lease was left by a process that died.
DUE: Final = f"""
SELECT {LETTER}
  FROM eventsource_app_deadletter
 WHERE subscription = %s AND {OPEN} AND slot %% %s = %s
   AND (replayed_through IS NOT NULL OR (state = 'parked' AND next_retry_at <= clock_timestamp())
        OR (state = 'retrying' AND tried_at <= clock_timestamp() - make_interval(secs => %s)))
 ORDER BY position LIMIT 1
"""  # noqa: S608
LOCK_LETTER: Final = f"""
SELECT {LETTER}
  FROM eventsource_app_deadletter WHERE id = %s AND {OPEN} FOR UPDATE SKIP LOCKED
"""  # noqa: S608
TRIED: Final = """
UPDATE eventsource_app_deadletter SET state = CASE WHEN replayed_through IS NULL THEN 'retrying' ELSE state END,
    tried_position = %s, tried_at = clock_timestamp(), lost_attempt_count = %s WHERE id = %s
"""
NOT_TRIED_AFTER_ALL: Final = f"""
UPDATE eventsource_app_deadletter SET {NOT_TRIED},
    state = CASE WHEN state <> 'retrying' THEN state WHEN next_retry_at IS NULL THEN 'dead' ELSE 'parked' END
 WHERE id = %s
"""  # noqa: S608
GIVEN_UP: Final = f"""
UPDATE eventsource_app_deadletter SET state = 'dead', next_retry_at = NULL, error_message = %s, severity = 'critical',
    last_failed_at = clock_timestamp(), {NOT_TRIED} WHERE id = %s
"""  # noqa: S608
RESOLVED: Final = f"""
UPDATE eventsource_app_deadletter SET state = CASE WHEN state = 'discarded' THEN state ELSE 'resolved' END,
    closed_at = coalesce(closed_at, clock_timestamp()), closed_by = CASE WHEN closed_by = '' THEN %s ELSE closed_by END,
    next_retry_at = NULL, replayed_through = %s, {NOT_TRIED} WHERE id = %s
"""  # noqa: S608
FAILED_AGAIN: Final = f"""
UPDATE eventsource_app_deadletter SET state = %(state)s, retry_count = retry_count + 1,
    next_retry_at = clock_timestamp() + make_interval(secs => %(delay)s), error_type = %(error_type)s,
    error_message = %(error_message)s, traceback = %(traceback)s, category = %(category)s, severity = %(severity)s,
    last_failed_at = clock_timestamp(), {NOT_TRIED}
 WHERE id = %(id)s
"""  # noqa: S608
FIND_OPEN: Final = f"""
SELECT {LETTER}
  FROM eventsource_app_deadletter
 WHERE subscription = %(subscription)s AND {OPEN}
   AND (%(aggregate_id)s::uuid IS NULL OR aggregate_id = %(aggregate_id)s::uuid) ORDER BY position
"""  # noqa: S608
# A discarded letter is open until its followers have been replayed.
DISCARD: Final = f"""
UPDATE eventsource_app_deadletter SET state = 'discarded', closed_at = clock_timestamp(), closed_by = %(who)s,
    close_reason = %(reason)s, next_retry_at = NULL,
    replayed_through = CASE WHEN scope = 'aggregate' THEN position END, {NOT_TRIED}
 WHERE id = %(id)s
"""  # noqa: S608
# The feed delivers them again: letters above the new position are closed, and of the others' followers those above.
REWIND: Final = f"""
WITH closed AS (
    UPDATE eventsource_app_deadletter SET
        state = CASE WHEN state = 'discarded' THEN state ELSE 'resolved' END, replayed_through = NULL, next_retry_at = NULL,
        closed_at = coalesce(closed_at, clock_timestamp()),
        closed_by = CASE WHEN closed_by = '' THEN %(who)s ELSE closed_by END,
        close_reason = CASE WHEN close_reason = '' THEN %(reason)s ELSE close_reason END, {NOT_TRIED}
     WHERE subscription = %(subscription)s AND {OPEN} AND (position > %(position)s OR replayed_through > %(position)s)
    RETURNING position)
SELECT count(*) FROM closed
"""  # noqa: S608
COUNT_OPEN: Final = """
SELECT count(*) FROM eventsource_app_deadletter WHERE subscription = %s AND state IN ('parked', 'retrying', 'dead')
"""
Aggregate = tuple[str, str]


def told_of(recorded: RecordedEvent) -> dict[str, object]:
    """The fields of a log line about an event; with the request's correlation id where the event came with one."""
    about: dict[str, object] = {
        "event_id": str(recorded.event_id),
        "event_type": recorded.event_type,
        "aggregate_id": str(recorded.aggregate_id),
        "position": recorded.position,
    }
    return about | ({"correlation_id": recorded.correlation_id} if recorded.correlation_id else {})


@dataclass(frozen=True, slots=True)
class Failure:
    """An event whose handling failed, why, and when it is tried again (``None``: not by itself)."""

    recorded: RecordedEvent
    error: BaseException
    classification: ErrorClassification
    delay: float | None

    @property
    def aggregate(self) -> Aggregate:
        return self.recorded.aggregate_type, str(self.recorded.aggregate_id)

    def told(self) -> dict[str, object]:
        """The fields of the log line that tells of the parking."""
        return {
            **told_of(self.recorded),
            "error_message": describe(self.error),
            "next_retry_seconds": None if self.delay is None else round(self.delay, 3),
        }

    def columns(self) -> dict[str, object]:
        lines = "".join(traceback.format_exception(self.error))
        return {
            "state": "dead" if self.delay is None else "parked",
            "delay": self.delay,
            "error_type": f"{type(self.error).__module__}.{type(self.error).__qualname__}"[:300],
            "error_message": describe(self.error),
            "traceback": storable(lines[-TRACEBACK_LIMIT:]),
            "category": self.classification.category.value,
            "severity": self.classification.severity.value,
        }


@dataclass(frozen=True, slots=True)
class OpenLetter:
    """A letter that is not closed, or whose followers are still to be replayed."""

    id: int
    position: int
    aggregate_type: str
    aggregate_id: UUID
    scope: str
    state: str
    retry_count: int
    replayed_through: int | None
    is_automatic: bool  # it has a time for its next retry
    tried_position: int | None
    lost_attempt_count: int

    @property
    def is_follower_next(self) -> bool:
        """Say whether its own event is done with, and those behind it are being replayed."""
        return self.replayed_through is not None


def park(using: str, subscription: str, scope: str, failure: Failure) -> None:
    """Write the letter in the caller's transaction, beside the checkpoint that moves past the event."""
    params = {
        "subscription": subscription,
        "scope": scope,
        "position": failure.recorded.position,
        **failure.columns(),
    }
    execute(using, PARK, params)


@dataclass(frozen=True, slots=True)
class ParkedSet:
    """The aggregates of one partition whose events wait; ``is_empty`` when no letter is open at all."""

    aggregates: frozenset[Aggregate] = frozenset()
    is_empty: bool = True


def load_parked(using: str, subscription: str, partition: int, partition_count: int) -> ParkedSet:
    rows = fetch_all(using, PARKED_SET, (subscription, partition_count, partition))
    waiting = frozenset((row[0], row[1]) for row in rows if row[2] == "aggregate")
    return ParkedSet(waiting, is_empty=not rows)


def find_due(
    using: str, subscription: str, partition: int, partition_count: int, lease_seconds: float
) -> OpenLetter | None:
    """Return the earliest letter that is to be tried, or whose followers are to be replayed, now."""
    rows = fetch_all(using, DUE, (subscription, partition_count, partition, lease_seconds))
    return OpenLetter(*rows[0]) if rows else None


def lock_letter(using: str, letter_id: int) -> OpenLetter | None:
    """Lock a letter; ``None`` when it is closed or somebody else is at it."""
    rows = fetch_all(using, LOCK_LETTER, (letter_id,))
    return OpenLetter(*rows[0]) if rows else None


def find_open(using: str, subscription: str, aggregate_id: UUID | None = None) -> list[OpenLetter]:
    """Return the open letters of a subscription, or of one of its aggregates, in the log's order."""
    rows = fetch_all(using, FIND_OPEN, {"subscription": subscription, "aggregate_id": aggregate_id})
    return [OpenLetter(*row) for row in rows]


def mark_tried(using: str, letter_id: int, position: int, lost_attempt_count: int) -> None:
    """Say, in a commit before the attempt, which event of a letter is about to be tried."""
    execute(using, TRIED, (position, lost_attempt_count, letter_id))


def unmark(using: str, letter_id: int) -> None:
    """The attempt came to nothing and says nothing of the event: the letter is as it was before."""
    execute(using, NOT_TRIED_AFTER_ALL, (letter_id,))


def give_up(using: str, letter_id: int, sentence: str) -> None:
    """It cannot be tried at all; from here on it is an operator's."""
    execute(using, GIVEN_UP, (sentence, letter_id))


def mark_discarded(using: str, letter_id: int, who: str, reason: str) -> None:
    execute(using, DISCARD, {"id": letter_id, "who": who, "reason": reason})


def rewind(using: str, subscription: str, position: int, who: str, reason: str) -> int:
    """Close the letters that a feed from ``position`` on makes obsolete; return how many."""
    params = {"subscription": subscription, "position": position, "who": who, "reason": reason}
    return int(fetch_all(using, REWIND, params)[0][0])


def mark_handled(using: str, letter_id: int, who: str, replayed_through: int | None) -> None:
    """The event is done; ``replayed_through`` is how far its followers are, ``None`` when they have caught up."""
    execute(using, RESOLVED, (who, replayed_through, letter_id))


def mark_failed_again(using: str, letter_id: int, failure: Failure) -> None:
    execute(using, FAILED_AGAIN, {"id": letter_id, **failure.columns()})


def count_open(using: str, subscription: str) -> int:
    return int(fetch_all(using, COUNT_OPEN, (subscription,))[0][0])
