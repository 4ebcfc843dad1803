"""Pruning: everything that may be forgotten, each kind with a name, a rule, and how long it is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from eventsource_app.store.session import execute, log_database
from eventsource_app.subscriptions import history
from eventsource_app.subscriptions.heartbeats import STALE_SECONDS

DEFAULT_DAYS: Final = 30.0
MAX_DAYS: Final = 36_500  # a hundred years; millions would be a time before any that PostgreSQL knows
# Many small deletes: none of them holds locks for long or meets the statement timeout.
CHUNK: Final = 5_000
CLOSED_LETTERS: Final = """
DELETE FROM eventsource_app_deadletter WHERE id IN (
    SELECT id FROM eventsource_app_deadletter
     WHERE state IN ('resolved', 'discarded') AND replayed_through IS NULL
       AND closed_at < clock_timestamp() - make_interval(secs => %s) LIMIT %s)
"""
STALE_HEARTBEATS: Final = """
DELETE FROM eventsource_app_workerheartbeat WHERE worker_id IN (
    SELECT worker_id FROM eventsource_app_workerheartbeat
     WHERE beat_at < clock_timestamp() - make_interval(secs => %s) LIMIT %s)
"""
DAY_SECONDS: Final = 86_400.0
Forget = Callable[[str, float], int]


@dataclass(frozen=True, slots=True)
class Prunable:
    """One kind of rows. ``forget(using, seconds)`` deletes the older ones and returns how many.

    ``seconds`` is how long they are kept; ``None`` for those that follow the operator's ``--days``.
    """

    name: str
    forget: Forget
    seconds: float | None = None


_prunables: dict[str, Prunable] = {}


def prunable(name: str, seconds: float | None = None) -> Callable[[Forget], Forget]:
    """Register what may be forgotten, for ``manage.py prune``."""

    def register(forget: Forget) -> Forget:
        _prunables[name] = Prunable(name, forget, seconds)
        return forget

    return register


def prune(days: float = DEFAULT_DAYS, *, using: str | None = None) -> dict[str, int]:
    """Delete all that is older than it need be; return how many rows of each kind went."""
    using = using or log_database()
    if not 0 <= days <= MAX_DAYS:
        raise ValueError(f"days={days} cannot be: use a number from 0 to {MAX_DAYS}.")
    return {
        kind.name: kind.forget(using, days * DAY_SECONDS if kind.seconds is None else kind.seconds)
        for kind in tuple(_prunables.values())
    }


def delete_in_chunks(using: str, sql: str, seconds: float) -> int:
    """Run a DELETE with the parameters (seconds, limit) until nothing is left for it."""
    total = 0
    while (count := execute(using, sql, (seconds, CHUNK))) > 0:
        total += count
    return total


@prunable("closed dead letters")
def _forget_closed_letters(using: str, seconds: float) -> int:
    return delete_in_chunks(using, CLOSED_LETTERS, seconds)


@prunable("stale heartbeats", STALE_SECONDS * 20)
def _forget_stale_heartbeats(using: str, seconds: float) -> int:
    return delete_in_chunks(using, STALE_HEARTBEATS, seconds)


@prunable("lag and rate samples", history.KEPT_SECONDS)
def _forget_samples(using: str, seconds: float) -> int:
    """Of partitions that are gone: the others' are overwritten in time."""
    return delete_in_chunks(using, history.FORGET, seconds)
