"""Dead letters: events that could not be handled, parked with the later events of their aggregate behind them.

Followers are not copied. They are the log's events of the aggregate between the letter and the checkpoint, and are
replayed in order once the letter is handled or discarded (``replayed_through`` says how far). Whoever changes a letter
holds the checkpoint row's lock and bumps its parked generation, so workers know when to load the parked set again.
"""

import traceback
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.session import execute, fetch_all
from eventsource_app.subscriptions.errors import ErrorClassification, describe

OPEN: Final = "(state IN ('parked', 'retrying', 'dead') OR replayed_through IS NOT NULL)"
TRACEBACK_LIMIT: Final = 20_000

PARK: Final = """
INSERT INTO eventsource_app_deadletter (
    subscription, position, event_id, event_type, aggregate_type, aggregate_id, slot, scope, state, error_type,
    error_message, traceback, category, severity, retry_count, next_retry_at, closed_by, close_reason)
SELECT %(subscription)s, position, event_id, event_type, aggregate_type, aggregate_id, slot, %(scope)s, %(state)s,
       %(error_type)s, %(error_message)s, %(traceback)s, %(category)s, %(severity)s, 0,
       clock_timestamp() + make_interval(secs => %(delay)s), '', ''
  FROM eventsource_app_event WHERE position = %(position)s
ON CONFLICT (subscription, position) DO UPDATE SET
    state = excluded.state, error_type = excluded.error_type, error_message = excluded.error_message,
    traceback = excluded.traceback, category = excluded.category, severity = excluded.severity, retry_count = 0,
    next_retry_at = excluded.next_retry_at, replayed_through = NULL, last_failed_at = clock_timestamp(),
    closed_at = NULL, closed_by = '', close_reason = ''
"""
PARKED_SET: Final = f"""
SELECT DISTINCT aggregate_type, aggregate_id::text, scope FROM eventsource_app_deadletter
 WHERE subscription = %s AND {OPEN} AND slot %% %s = %s
"""  # noqa: S608 - constants only
DUE: Final = f"""
SELECT id, position, aggregate_type, aggregate_id, scope, state, retry_count, replayed_through
  FROM eventsource_app_deadletter
 WHERE subscription = %s AND {OPEN} AND slot %% %s = %s
   AND (replayed_through IS NOT NULL OR (state = 'parked' AND next_retry_at <= clock_timestamp()))
 ORDER BY position LIMIT 1
"""  # noqa: S608
LOCK_LETTER: Final = f"""
SELECT id, position, aggregate_type, aggregate_id, scope, state, retry_count, replayed_through
  FROM eventsource_app_deadletter WHERE id = %s AND {OPEN} FOR UPDATE SKIP LOCKED
"""  # noqa: S608
RESOLVED: Final = """
UPDATE eventsource_app_deadletter SET state = CASE WHEN state = 'discarded' THEN state ELSE 'resolved' END,
    closed_at = coalesce(closed_at, clock_timestamp()), closed_by = CASE WHEN closed_by = '' THEN %s ELSE closed_by END,
    next_retry_at = NULL, replayed_through = %s WHERE id = %s
"""
FAILED_AGAIN: Final = """
UPDATE eventsource_app_deadletter SET state = %(state)s, retry_count = retry_count + 1,
    next_retry_at = clock_timestamp() + make_interval(secs => %(delay)s), error_type = %(error_type)s,
    error_message = %(error_message)s, traceback = %(traceback)s, category = %(category)s, severity = %(severity)s,
    last_failed_at = clock_timestamp()
 WHERE id = %(id)s
"""
FIND_OPEN: Final = f"""
SELECT id, position, aggregate_type, aggregate_id, scope, state, retry_count, replayed_through
  FROM eventsource_app_deadletter
 WHERE subscription = %(subscription)s AND {OPEN}
   AND (%(aggregate_id)s::uuid IS NULL OR aggregate_id = %(aggregate_id)s::uuid) ORDER BY position
"""  # noqa: S608
# A discarded letter is open until its followers have been replayed.
DISCARD: Final = """
UPDATE eventsource_app_deadletter SET state = 'discarded', closed_at = clock_timestamp(), closed_by = %(who)s,
    close_reason = %(reason)s, next_retry_at = NULL,
    replayed_through = CASE WHEN scope = 'aggregate' THEN position END
 WHERE id = %(id)s
"""
# The feed delivers them again: letters above the new position are closed, and of the others' followers those above.
REWIND: Final = f"""
WITH closed AS (
    UPDATE eventsource_app_deadletter SET
        state = CASE WHEN state = 'discarded' THEN state ELSE 'resolved' END, replayed_through = NULL, next_retry_at = NULL,
        closed_at = coalesce(closed_at, clock_timestamp()),
        closed_by = CASE WHEN closed_by = '' THEN %(who)s ELSE closed_by END,
        close_reason = CASE WHEN close_reason = '' THEN %(reason)s ELSE close_reason END
     WHERE subscription = %(subscription)s AND {OPEN} AND (position > %(position)s OR replayed_through > %(position)s)
    RETURNING position)
SELECT count(*) FROM closed
"""  # noqa: S608
COUNT_OPEN: Final = """
SELECT count(*) FROM eventsource_app_deadletter WHERE subscription = %s AND state IN ('parked', 'retrying', 'dead')
"""
Aggregate = tuple[str, str]


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

    def columns(self) -> dict[str, object]:
        lines = "".join(traceback.format_exception(self.error))
        return {
            "state": "dead" if self.delay is None else "parked",
            "delay": self.delay,
            "error_type": f"{type(self.error).__module__}.{type(self.error).__qualname__}"[:300],
            "error_message": _storable(describe(self.error)),
            "traceback": _storable(lines[-TRACEBACK_LIMIT:]),
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


def find_due(using: str, subscription: str, partition: int, partition_count: int) -> OpenLetter | None:
    """Return the earliest letter that is to be tried, or whose followers are to be replayed, now."""
    rows = fetch_all(using, DUE, (subscription, partition_count, partition))
    return OpenLetter(*rows[0]) if rows else None


def lock_letter(using: str, letter_id: int) -> OpenLetter | None:
    """Lock a letter; ``None`` when it is closed or somebody else is at it."""
    rows = fetch_all(using, LOCK_LETTER, (letter_id,))
    return OpenLetter(*rows[0]) if rows else None


def find_open(using: str, subscription: str, aggregate_id: UUID | None = None) -> list[OpenLetter]:
    """Return the open letters of a subscription, or of one of its aggregates, in the log's order."""
    rows = fetch_all(using, FIND_OPEN, {"subscription": subscription, "aggregate_id": aggregate_id})
    return [OpenLetter(*row) for row in rows]


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


def _storable(text: str) -> str:
    """PostgreSQL's text has no NUL, and its encoding no lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
