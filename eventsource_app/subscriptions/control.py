"""Control: what an operator may do, each verb once. The admin, the commands and the manager only call these.

Every verb takes ``who`` did it, works while workers run (it waits for the batch that runs, then holds the checkpoint
rows' locks), and returns what happened. What cannot be done raises a ``ControlError`` with one sentence.
Rebuilding and changing partitions are in modules of their own.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Final

from django.db import OperationalError, transaction
from psycopg import errors as pg

from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.session import execute, fetch_all, log_database
from eventsource_app.subscriptions import checkpoints
from eventsource_app.subscriptions.callbacks import load_callbacks
from eventsource_app.subscriptions.checkpoints import CheckpointRow
from eventsource_app.subscriptions.enrolment import handles_too_few, may_run
from eventsource_app.subscriptions.errors import ErrorSeverity
from eventsource_app.subscriptions.registry import Subscription, declared_subscriptions
from eventsource_app.subscriptions.reporting import ErrorCallbacks, log_critical, log_error

logger = logging.getLogger("eventsource.operator")
__all__ = [
    "BusyError",
    "ControlError",
    "ImpossibleNumberError",
    "StateChange",
    "Subscriptions",
    "UnknownSubscriptionError",
    "check_code",
    "declared",
    "desk_callbacks",
    "locked_rows",
    "pause",
    "record",
    "resume",
    "seen_rows",
    "why_held",
    "worst_state",
]
STATES_BY_URGENCY: Final = ("running", "rebuilding", "paused", "stopped")
Subscriptions = Mapping[str, Subscription]

SET_STATE: Final = """
UPDATE eventsource_app_checkpoint SET state = %s, state_reason = %s, state_changed_by = %s,
    state_changed_at = clock_timestamp(), updated_at = clock_timestamp()
 WHERE subscription = %s
"""
NAMES: Final = "SELECT DISTINCT subscription FROM eventsource_app_checkpoint ORDER BY subscription"


class ControlError(EventSourceError):
    """A verb that was not carried out; the sentence says why, and what to do."""


class UnknownSubscriptionError(ControlError):
    """No such subscription; the sentence names those that there are."""

    def __init__(self, name: str, known: Iterable[str], what: str) -> None:
        super().__init__(f"No subscription {name!r} {what}; known are: {', '.join(sorted(known)) or 'none'}.")
        self.name = name


class ImpossibleNumberError(ControlError):
    """A number that is never possible, whatever the subscription does; the sentence says which are."""


class BusyError(ControlError):
    """A batch holds the checkpoint for longer than the verb may wait."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A batch of {name} has been running for too long to wait for it; nothing was changed, try again."
        )
        self.name = name


@dataclass(frozen=True, slots=True)
class StateChange:
    """What ``pause`` and ``resume`` did: the state of all partitions now, and the one before (the worst of them)."""

    subscription: str
    state: str
    previous: str
    partition_count: int

    @property
    def changed(self) -> bool:
        return self.state != self.previous


def pause(name: str, who: str, reason: str = "", *, using: str | None = None) -> StateChange:
    """Hold a subscription until ``resume``, across restarts; when it returns, no handler of it runs any more."""
    using = using or log_database()
    return _set_state(name, "paused", reason, who, using)


def resume(name: str, who: str, *, using: str | None = None) -> StateChange:
    """Let a paused or stopped subscription go on."""
    using = using or log_database()
    return _set_state(name, "running", "", who, using)


def declared(name: str, subscriptions: Subscriptions | None = None) -> Subscription:
    """Return the subscription that the code declares under a name; raises ``UnknownSubscriptionError``."""
    known = declared_subscriptions() if subscriptions is None else subscriptions
    if name not in known:
        raise UnknownSubscriptionError(name, known, "is declared by the installed apps")
    return known[name]


def check_code(using: str, subscription: Subscription) -> None:
    """Refuse to run handlers of code that handles fewer event types than the rows list (an old release's shell)."""
    if not all(may_run(row, subscription) for row in checkpoints.find(using, [subscription.name])):
        raise ControlError(handles_too_few(subscription.name))


def record(verb: str, who: str, result: object) -> None:
    """Leave a line in the log: who did what, and what came of it."""
    values = {field.name: getattr(result, field.name) for field in fields(result)}  # type: ignore[arg-type]
    logger.info("Operator: %s", verb, extra={"verb": verb, "who": who, **values})


def desk_callbacks() -> ErrorCallbacks:
    """Return who hears of what fails in an operator's process: the same as in a worker's."""
    callbacks = ErrorCallbacks()
    callbacks.on_error(log_error)
    callbacks.on_severity(ErrorSeverity.CRITICAL, log_critical)
    for callback in load_callbacks():
        callbacks.on_error(callback)
    return callbacks


def worst_state(rows: Iterable[CheckpointRow]) -> str:
    """Return the state of the partition that most needs somebody to look."""
    return max((row.state for row in rows), key=STATES_BY_URGENCY.index)


def why_held(row: CheckpointRow) -> str:
    """Return what keeps a partition from the events that wait for it, and what an operator does about it."""
    if row.state == "running" and row.breaker == "closed":
        return handles_too_few(row.subscription)
    if row.state == "running":
        return f"The circuit breaker of {row.subscription} is open while events wait: mend what its handlers call."
    why = f" ({row.state_reason})" if row.state_reason else ""
    return (
        f"{row.subscription} is {row.state}{why} while events wait for it; to go on, "
        f"run `manage.py resume_subscription {row.subscription}`."
    )


@contextmanager
def locked_rows(using: str, name: str) -> Iterator[list[CheckpointRow]]:
    """A transaction that holds all partitions' rows; no handler of the subscription runs inside it."""
    with transaction.atomic(using=using, durable=True):
        yield _lock_all(using, name)


def seen_rows(using: str, name: str) -> list[CheckpointRow]:
    """Return all partitions' rows as they are now, without a lock; raises ``UnknownSubscriptionError``."""
    return _known(using, name, checkpoints.find(using, [name]))


def _lock_all(using: str, name: str) -> list[CheckpointRow]:
    try:
        rows = checkpoints.lock_all(using, name)
    except OperationalError as error:
        if isinstance(error.__cause__, pg.QueryCanceled | pg.LockNotAvailable):
            raise BusyError(name) from error
        raise
    return _known(using, name, rows)


def _known(using: str, name: str, rows: list[CheckpointRow]) -> list[CheckpointRow]:
    if not rows:
        known = [row[0] for row in fetch_all(using, NAMES)]
        raise UnknownSubscriptionError(name, known, "has a checkpoint")
    return rows


def _set_state(name: str, state: str, reason: str, who: str, using: str) -> StateChange:
    with locked_rows(using, name) as rows:
        if any(row.state != state for row in rows):
            execute(using, SET_STATE, (state, reason, who, name))
    previous = worst_state([row for row in rows if row.state != state] or rows)
    change = StateChange(name, state, previous, len(rows))
    record("pause" if state == "paused" else "resume", who, change)
    return change
