"""Rebuilding a read model from the log, and the other ways to put a checkpoint elsewhere than the log's course would.

All of them take the leases away: whoever owned a partition steps back at its next attempt, and a worker that handles all
that the row now lists takes over (an old pod of a rollout does not).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.session import execute, fetch_all, log_database
from eventsource_app.subscriptions import checkpoints, dead_letters, heartbeats
from eventsource_app.subscriptions.checkpoints import CheckpointRow
from eventsource_app.subscriptions.control import (
    ControlError,
    ImpossibleNumberError,
    Subscriptions,
    declared,
    locked_rows,
    record,
    seen_rows,
    worst_state,
)
from eventsource_app.subscriptions.errors import TransactionEndedError
from eventsource_app.subscriptions.handling import balanced_blocks
from eventsource_app.subscriptions.registry import Subscription

START_OVER: Final = """
UPDATE eventsource_app_checkpoint SET
    position = %(position)s, handled_types = %(types)s::varchar[], rebuild_target = %(target)s,
    rebuild_started_at = clock_timestamp(), state = 'running', state_reason = '', state_changed_by = %(who)s,
    state_changed_at = clock_timestamp(), parked_generation = parked_generation + 1, breaker = 'closed',
    breaker_opened_at = NULL, unclean_takeover_count = 0, careful_position = NULL, careful_death_count = 0,
    owner = NULL, lease_expires_at = NULL, epoch = epoch + 1, updated_at = clock_timestamp()
 WHERE subscription = %(name)s
"""
PUT_AT: Final = """
UPDATE eventsource_app_checkpoint SET
    position = %s, parked_generation = parked_generation + 1, unclean_takeover_count = 0, careful_position = NULL,
    careful_death_count = 0, owner = NULL, lease_expires_at = NULL, epoch = epoch + 1, updated_at = clock_timestamp(),
    rebuild_target = NULL, rebuild_started_at = NULL, breaker = 'closed', breaker_opened_at = NULL
 WHERE subscription = %s
"""
ACCEPT: Final = """
UPDATE eventsource_app_checkpoint SET handled_types = %s::varchar[], owner = NULL, lease_expires_at = NULL,
    epoch = epoch + 1, updated_at = clock_timestamp() WHERE subscription = %s
"""
PROGRESS: Final = """
SELECT min(position), max(rebuild_target), min(rebuild_started_at), bool_or(breaker = 'open'),
       min(state) FILTER (WHERE state <> 'running'),
       sum(least(position, rebuild_target))::bigint, sum(rebuild_target)::bigint
  FROM eventsource_app_checkpoint WHERE subscription = %s
"""
FINISH: Final = """
UPDATE eventsource_app_checkpoint SET rebuild_target = NULL, rebuild_started_at = NULL
 WHERE subscription = %(name)s AND NOT EXISTS (
    SELECT FROM eventsource_app_checkpoint WHERE subscription = %(name)s AND position < rebuild_target)
"""
HOW_MANY_ABOVE: Final = f"""
SELECT count(*) FROM eventsource_app_deadletter
 WHERE subscription = %s AND {dead_letters.OPEN} AND (position > %s OR replayed_through > %s)
"""  # noqa: S608 - constants only
# Emptying a large read model may take longer than any statement of a request may.
NO_TIMEOUT: Final = "SET LOCAL statement_timeout = 0"
EVERY_LETTER: Final = -1


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A rebuild that has begun: it is done when every partition has passed ``target``."""

    subscription: str
    from_position: int
    target: int
    closed_letter_count: int
    previous_state: str


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a rebuild is, in positions over all partitions, and what keeps it from going on (empty: nothing)."""

    position: int
    target: int | None
    started_at: datetime | None
    done_count: int
    total_count: int
    obstacle: str

    @property
    def is_done(self) -> bool:
        return self.target is None or self.position >= self.target


@dataclass(frozen=True, slots=True)
class Reset:
    """A checkpoint that was put somewhere: what is above it is delivered (again), what is skipped never."""

    subscription: str
    previous_positions: tuple[int, ...]
    position: int
    closed_letter_count: int


@dataclass(frozen=True, slots=True)
class AcceptedTypes:
    """The event types that are handled from here on, without their past."""

    subscription: str
    added: tuple[str, ...]
    removed: tuple[str, ...]


def rebuild(
    name: str, who: str, *, store: EventStore | None = None, subscriptions: Subscriptions | None = None
) -> Rebuild:
    """Empty the read model and start over at the log's beginning, in one transaction; workers may run.

    The checkpoints of all partitions go back (to ``start_from`` where that is a position), every dead letter is closed, and
    a paused or stopped subscription runs again. Workers replay through their ordinary loop; until they have passed
    where the log ended, the subscription shows as rebuilding. It is also the way out of a checkpoint ahead of the log,
    and of handled types that grew. Raises ``ControlError`` for a projection without ``reset()``.
    """
    store = store or EventStore()
    subscription = declared(name, subscriptions)
    target = store.read_bound().bound
    start = subscription.config.start_from
    first = min(start, target) if isinstance(start, int) else 0
    with locked_rows(store.using, name) as rows:
        execute(store.using, NO_TIMEOUT)
        _reset(subscription, store.using)
        closed = dead_letters.rewind(
            store.using,
            name,
            EVERY_LETTER,
            who,
            "The subscription was rebuilt; the log delivers the event again.",
        )
        types = None if subscription.event_types is None else sorted(subscription.event_types)
        execute(
            store.using,
            START_OVER,
            {"name": name, "position": first, "types": types, "target": target, "who": who},
        )
    begun = Rebuild(name, first, target, closed, worst_state(rows))
    record("rebuild", who, begun)
    return begun


def rebuild_progress(name: str, *, using: str | None = None) -> RebuildProgress:
    """Return how far the rebuild of a subscription is."""
    using = using or log_database()
    position, target, started_at, breaker_open, state, done, total = fetch_all(using, PROGRESS, (name,))[0]
    obstacle = state or ("held up by an open circuit breaker" if breaker_open else "")
    return RebuildProgress(position or 0, target, started_at, done or 0, total or 0, obstacle)


def finish_rebuild(name: str, *, using: str | None = None) -> bool:
    """Take the mark of a rebuild away if every partition has come through; say whether there is none (any more)."""
    using = using or log_database()
    execute(using, FINISH, {"name": name})
    return rebuild_progress(name, using=using).target is None


def has_live_worker(name: str, *, using: str | None = None) -> bool:
    """Say whether a process lives that can run the subscription."""
    using = using or log_database()
    return heartbeats.count_live(using, checkpoints.LEASE_SECONDS).get(name, 0) > 0


def letters_above(name: str, position: int, *, using: str | None = None) -> int:
    """Return how many open letters a reset to this position would close."""
    using = using or log_database()
    return int(fetch_all(using, HOW_MANY_ABOVE, (name, position, position))[0][0])


def check_reset(name: str, to: int, *, store: EventStore | None = None) -> None:
    """Raise what ``reset_checkpoint`` would, as far as it can be seen now: for whoever is to be asked first."""
    store = store or EventStore()
    _check_position(name, to, store)
    _check_nobody_moves_it(name, seen_rows(store.using, name), store.using)


def reset_checkpoint(
    name: str,
    to: int,
    who: str,
    *,
    seen_positions: tuple[int, ...] | None = None,
    store: EventStore | None = None,
) -> Reset:
    """Put all partitions at one position: the read model stays as it is, and what lies above is delivered (again).

    Refused while a worker owns a partition, or during a rebuild. Letters above the position are closed, since the feed
    delivers their events again; letters at or below it stay open, with the events that wait behind them up to it.
    With ``seen_positions`` (by partition) it is refused when a checkpoint has moved since somebody looked.
    """
    store = store or EventStore()
    _check_position(name, to, store)
    with locked_rows(store.using, name) as rows:
        _check_nobody_moves_it(name, rows, store.using)
        positions = tuple(row.position for row in rows)
        if seen_positions not in (None, positions):
            raise ControlError(
                f"The checkpoint of {name} has moved since it was looked at (to {max(positions)}); look again, then decide."
            )
        reason = f"The checkpoint was reset to {to}; the log delivers the event again."
        closed = dead_letters.rewind(store.using, name, to, who, reason)
        execute(store.using, PUT_AT, (to, name))
    reset = Reset(name, positions, to, closed)
    record("reset_checkpoint", who, reset)
    return reset


def accept_event_types(
    name: str, who: str, *, using: str | None = None, subscriptions: Subscriptions | None = None
) -> AcceptedTypes:
    """Let a subscription whose handled types changed go on from its checkpoint, without the past of the new ones."""
    using = using or log_database()
    wanted = declared(name, subscriptions).event_types
    with locked_rows(using, name) as rows:
        known = rows[0].handled_types
        if (None if wanted is None else sorted(wanted)) == known:
            return AcceptedTypes(name, (), ())
        execute(using, ACCEPT, (None if wanted is None else sorted(wanted), name))
    before, now = set(known or ()), set(wanted or ())
    added = ("every type",) if wanted is None else tuple(sorted(now - before))
    accepted = AcceptedTypes(name, added, tuple(sorted(before - now)))
    record("accept_event_types", who, accepted)
    return accepted


def _check_position(name: str, to: int, store: EventStore) -> None:
    bound = store.read_bound().bound
    if not 0 <= to <= bound:
        raise ImpossibleNumberError(
            f"Position {to} cannot be: the log of {name} can be read from 0 to {bound}."
        )


def _check_nobody_moves_it(name: str, rows: list[CheckpointRow], using: str) -> None:
    owners = sorted({row.owner for row in rows if row.leased and row.owner})
    if owners:
        raise ControlError(
            f"A worker owns {name} ({', '.join(owners)}); stop the workers, or start them without it, then try again."
        )
    if not rebuild_progress(name, using=using).is_done:
        raise ControlError(
            f"{name} is being rebuilt; let it finish, or begin it again with rebuild_projection."
        )


def _reset(subscription: Subscription, using: str) -> None:
    try:
        with balanced_blocks(using):
            subscription.projection.reset()
        checkpoints.check_lock(using)
    except NotImplementedError as error:
        raise ControlError(str(error)) from error
    except TransactionEndedError as error:
        raise ControlError(
            f"{subscription.name} was not started over: its reset() ended the transaction that moves the checkpoint, by a "
            "COMMIT or ROLLBACK of its own; take that out, and rebuild it again."
        ) from error
