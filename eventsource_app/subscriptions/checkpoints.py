"""The checkpoint row: how far one partition has come, and the lease of the process that moves it.

Every attempt locks the row first and believes only what it reads there. The lease's epoch is the fence: a process that
lost its lease while it slept finds another epoch and changes nothing. The database's clock alone decides expiry.
"""

from dataclasses import asdict, dataclass
from typing import Final

from django.db import IntegrityError

from eventsource_app.store.session import Row, execute, fetch_all, violated_constraint
from eventsource_app.store.transaction_ends import NOTHING, Meanwhile, begin_with, commit_with
from eventsource_app.subscriptions.errors import TransactionEndedError
from eventsource_app.subscriptions.interruptions import LeaseLostError, NotRunningError

LEASE_SECONDS: Final = 10.0

CREATE: Final = """
INSERT INTO eventsource_app_checkpoint
    (subscription, partition, partition_count, position, handled_types, epoch, unclean_takeover_count,
     careful_death_count, state, state_reason, state_changed_by, parked_generation, breaker,
     events_processed, events_failed, retry_count, batch_count, last_error)
SELECT %(name)s::varchar, part, %(count)s::smallint, %(position)s::bigint, %(types)s::varchar[], 0, 0, 0, 'running', '', '', 0, 'closed', 0, 0, 0, 0, ''
  FROM generate_series(0, %(count)s::smallint - 1) AS part
 WHERE NOT EXISTS (SELECT FROM eventsource_app_checkpoint WHERE subscription = %(name)s::varchar)
ON CONFLICT DO NOTHING
"""
LIST: Final = """
SELECT id, subscription, partition, partition_count, position, state, state_reason, breaker, handled_types,
       owner, owner IS NOT NULL AND lease_expires_at > clock_timestamp() AS leased
  FROM eventsource_app_checkpoint WHERE subscription = ANY(%s::varchar[]) ORDER BY subscription, partition
"""
# SKIP LOCKED: a running batch holds the row's lock, so it is never stolen, however late it is.
CLAIM: Final = """
UPDATE eventsource_app_checkpoint SET
    unclean_takeover_count = CASE WHEN owner IS NULL THEN 0 ELSE unclean_takeover_count + 1 END,
    careful_death_count = careful_death_count + CASE WHEN owner IS NULL OR careful_position IS NULL THEN 0 ELSE 1 END,
    owner = %(owner)s, epoch = epoch + 1, lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
    started_at = clock_timestamp(), updated_at = clock_timestamp()
 WHERE id = (SELECT id FROM eventsource_app_checkpoint WHERE id = %(id)s
               AND (owner IS NULL OR lease_expires_at <= clock_timestamp()) FOR UPDATE SKIP LOCKED)
RETURNING epoch, position, unclean_takeover_count, careful_position, careful_death_count
"""
# It lasts as long as the transaction, and so as the lock: a handler's own COMMIT or ROLLBACK takes both away.
NOTE_LOCK: Final = "set_config('eventsource.attempt', 'locked', true) <> ''"
IS_LOCKED: Final = "coalesce(current_setting('eventsource.attempt', true), '') <> ''"
LOCK: Final = f"""
SELECT position, epoch, state, parked_generation, partition_count FROM eventsource_app_checkpoint
 WHERE id = %s AND {NOTE_LOCK} FOR UPDATE
"""  # noqa: S608 - constants
LOOK_AT_LOCK: Final = f"SELECT {IS_LOCKED}"
# The function stands in migration 0015: called by name, it need not be planned anew for each batch.
ADVANCE: Final = f"""
SELECT eventsource_advance(%(id)s, %(epoch)s, %(read)s, %(position)s, %(processed)s, %(failed)s, %(retries)s,
    %(parked)s, %(error)s, CASE WHEN {IS_LOCKED} THEN %(lease)s END)
"""
LOST_LEASE: Final = "eventsource_lease"
LOST_TRANSACTION: Final = "eventsource_attempt"
RENEW: Final = """
UPDATE eventsource_app_checkpoint SET lease_expires_at = clock_timestamp() + make_interval(secs => %s),
    updated_at = clock_timestamp() WHERE id = %s AND epoch = %s
RETURNING state, position, parked_generation
"""
RELEASE: Final = """
UPDATE eventsource_app_checkpoint SET owner = NULL, lease_expires_at = NULL, updated_at = clock_timestamp()
 WHERE id = %s AND epoch = %s
"""
# Committed before the event is tried: if the process dies of it, the mark tells the next owner.
MARK: Final = """
UPDATE eventsource_app_checkpoint SET careful_position = %(position)s,
    careful_death_count = CASE WHEN careful_position = %(position)s THEN careful_death_count ELSE 0 END
 WHERE id = %(id)s AND epoch = %(epoch)s
"""
STOP: Final = """
UPDATE eventsource_app_checkpoint SET state = 'stopped', state_reason = %s, state_changed_at = clock_timestamp(),
    state_changed_by = 'worker', last_error = %s, last_error_at = clock_timestamp(), events_failed = events_failed + %s
 WHERE id = %s AND epoch = %s
"""
NOTE_BREAKER: Final = """
UPDATE eventsource_app_checkpoint SET breaker = %s, breaker_opened_at = clock_timestamp(), last_error = %s,
    last_error_at = clock_timestamp(), events_failed = events_failed + %s, updated_at = clock_timestamp()
 WHERE id = %s AND epoch = %s
"""
COUNTERS: Final = """
UPDATE eventsource_app_checkpoint SET
    events_processed = events_processed + %(processed)s, events_failed = events_failed + %(failed)s,
    retry_count = retry_count + %(retries)s, parked_generation = parked_generation + %(parked)s,
    last_event_at = CASE WHEN %(processed)s > 0 THEN clock_timestamp() ELSE last_event_at END,
    last_error = coalesce(%(error)s, last_error),
    last_error_at = CASE WHEN %(error)s::text IS NULL THEN last_error_at ELSE clock_timestamp() END,
    updated_at = clock_timestamp()
"""
# The position stays, and so does what is known of it: who died there, and why the line stops.
COUNT_OWNED: Final = f"""
{COUNTERS}, lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s)
 WHERE id = %(id)s AND epoch = %(epoch)s
"""
# What an operator's process does: it owns no lease, so it changes neither owner nor epoch nor expiry.
LOCK_ALL: Final = f"""
SELECT id, subscription, partition, partition_count, position, state, state_reason, breaker, handled_types,
       owner, owner IS NOT NULL AND lease_expires_at > clock_timestamp() AS leased
  FROM eventsource_app_checkpoint WHERE subscription = %s AND {NOTE_LOCK} ORDER BY partition FOR UPDATE
"""  # noqa: S608 - constants
LOCK_SLOT: Final = f"""
SELECT position, epoch, state, parked_generation, partition_count FROM eventsource_app_checkpoint
 WHERE subscription = %s AND partition = %s::smallint %% partition_count AND {NOTE_LOCK} FOR UPDATE
"""  # noqa: S608 - constants
COUNT: Final = f"""
{COUNTERS}
 WHERE subscription = %(subscription)s AND partition = %(slot)s::smallint %% partition_count
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to move one checkpoint row, good for one epoch."""

    checkpoint_id: int
    subscription: str
    partition: int
    partition_count: int
    epoch: int
    position: int
    # Owners that ended without a word at this position, the event that was then tried alone, and how often it killed.
    unclean_takeover_count: int = 0
    careful_position: int | None = None
    careful_death_count: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """What a process must know of a checkpoint before it asks for the lease."""

    id: int
    subscription: str
    partition: int
    partition_count: int
    position: int
    state: str
    state_reason: str
    breaker: str
    handled_types: list[str] | None
    owner: str | None
    leased: bool

    @property
    def is_orphan(self) -> bool:
        """Say whether its owner went without a word: whoever sees it first takes it."""
        return self.owner is not None and not self.leased


@dataclass(frozen=True, slots=True)
class LockedCheckpoint:
    """The row as it is inside an attempt, locked until its end."""

    position: int
    epoch: int
    state: str
    parked_generation: int
    partition_count: int

    def check_running(self, subscription: str) -> None:
        """Refuse to run a handler: none does after a pause or a stop has returned."""
        if self.state != "running":
            raise NotRunningError(subscription, self.state)


@dataclass(frozen=True, slots=True)
class Counts:
    """What an attempt adds to the row, in its own transaction, whether or not the row moves."""

    processed: int = 0
    failed: int = 0
    retries: int = 0
    parked: int = 0
    error: str | None = None


def create(using: str, name: str, partitions: int, position: int, types: tuple[str, ...] | None) -> None:
    """Make the rows of a subscription that has none; several processes may try at once."""
    params = {"name": name, "count": partitions, "position": position, "types": _array(types)}
    execute(using, CREATE, params)


def find(using: str, names: list[str]) -> list[CheckpointRow]:
    return [CheckpointRow(*row) for row in fetch_all(using, LIST, (names,))]


def claim(using: str, row: CheckpointRow, owner: str, lease_seconds: float) -> Lease | None:
    """Take the lease if nobody has it; ``None`` when somebody was faster."""
    rows = fetch_all(using, CLAIM, {"id": row.id, "owner": owner, "lease": lease_seconds})
    if not rows:
        return None
    return Lease(row.id, row.subscription, row.partition, row.partition_count, *rows[0])


def lock(using: str, lease: Lease, meanwhile: Meanwhile = NOTHING) -> LockedCheckpoint:
    """Begin an attempt: lock the row; raises ``LeaseLostError`` when the epoch is not ours any more."""
    rows = begin_with(using, LOCK, (lease.checkpoint_id,), meanwhile)
    locked = LockedCheckpoint(*rows[0]) if rows else None
    if locked is None or locked.epoch != lease.epoch or locked.partition_count != lease.partition_count:
        raise LeaseLostError(lease.subscription, lease.partition)
    return locked


def check_lock(using: str) -> None:
    """Refuse to go on where handlers ended the transaction that locked the row; ``advance`` looks by itself."""
    if fetch_all(using, LOOK_AT_LOCK) != [(True,)]:
        raise TransactionEndedError


def lock_all(using: str, name: str) -> list[CheckpointRow]:
    """Lock every partition's row, in their order, after the batches that run; an empty list for an unknown name."""
    return [CheckpointRow(*row) for row in fetch_all(using, LOCK_ALL, (name,))]


def lock_slot(using: str, name: str, slot: int) -> LockedCheckpoint | None:
    """Lock the row that a slot belongs to, whoever owns it; ``None`` when it has just gone."""
    rows = fetch_all(using, LOCK_SLOT, (name, slot))
    return LockedCheckpoint(*rows[0]) if rows else None


def count(using: str, name: str, slot: int, counts: Counts) -> None:
    """Add to the counters of a locked row without moving it."""
    execute(using, COUNT, {"subscription": name, "slot": slot, **asdict(counts)})


def count_owned(using: str, lease: Lease, counts: Counts, lease_seconds: float) -> None:
    """Add to the counters of our locked row without moving it, and renew the lease."""
    params = {"id": lease.checkpoint_id, "epoch": lease.epoch, "lease": lease_seconds}
    if execute(using, COUNT_OWNED, params | asdict(counts)) != 1:
        raise LeaseLostError(lease.subscription, lease.partition)


def advance(
    using: str,
    lease: Lease,
    read: int,
    position: int,
    counts: Counts,
    lease_seconds: float,
    meanwhile: Meanwhile = NOTHING,
) -> None:
    """End an attempt: move the locked row from the position that was ``read``, never backwards, renew the lease, and commit.

    Raises ``TransactionEndedError`` when the handlers have ended the transaction before, and ``LeaseLostError``.
    """
    if position < read:
        raise ValueError(f"The checkpoint of {lease.subscription} cannot go back from {read} to {position}.")
    params = {
        "id": lease.checkpoint_id,
        "epoch": lease.epoch,
        "read": read,
        "lease": lease_seconds,
        "position": position,
        **asdict(counts),
    }
    try:
        commit_with(using, ADVANCE, params, meanwhile)
    except IntegrityError as error:
        if violated_constraint(error) == LOST_LEASE:
            raise LeaseLostError(lease.subscription, lease.partition) from error
        if violated_constraint(error) == LOST_TRANSACTION:
            raise TransactionEndedError from error
        raise


def renew(using: str, lease: Lease, lease_seconds: float) -> Row:
    """Keep the lease while idle; return (state, position, parked generation) as they are now."""
    rows = fetch_all(using, RENEW, (lease_seconds, lease.checkpoint_id, lease.epoch))
    if not rows:
        raise LeaseLostError(lease.subscription, lease.partition)
    return rows[0]


def release(using: str, lease: Lease) -> bool:
    """Give the lease back, so that the next owner starts at once."""
    return execute(using, RELEASE, (lease.checkpoint_id, lease.epoch)) == 1


def mark(using: str, lease: Lease, position: int) -> None:
    """Note, in a commit of its own, that this event is about to be tried alone."""
    params = {"id": lease.checkpoint_id, "epoch": lease.epoch, "position": position}
    if execute(using, MARK, params) != 1:
        raise LeaseLostError(lease.subscription, lease.partition)


def stop(using: str, lease: Lease, reason: str, error: str, failed: int) -> None:
    """Stop the subscription visibly; an operator resumes it."""
    execute(using, STOP, (reason, error, failed, lease.checkpoint_id, lease.epoch))


def note_breaker(using: str, lease: Lease, state: str, error: str, failed: int) -> None:
    """Show the breaker's state and the failures that opened it."""
    execute(using, NOTE_BREAKER, (state, error, failed, lease.checkpoint_id, lease.epoch))


def _array(types: tuple[str, ...] | None) -> list[str] | None:
    return None if types is None else list(types)
