"""The table lock of an import, asked for so briefly that appends never queue behind it for long.

A lock request that waits holds up everybody who comes after it. So each try is short, and between two tries, outside of
any transaction, appends go on.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.session import execute, fetch_all, fetch_one

logger = logging.getLogger("eventsource.import")

TRY_MS: Final = 200
FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 4.0
PATIENCE_SECONDS: Final = 180.0
wait = time.sleep

LIMIT_WAIT: Final = "SELECT set_config('lock_timeout', %s, true)"
LOCK: Final = "LOCK TABLE eventsource_app_event IN EXCLUSIVE MODE"
RESTORE_LIMIT: Final = "SET LOCAL lock_timeout TO DEFAULT"
# Autovacuum gives way only to a request that is older than deadlock_timeout.
OUTLAST_AUTOVACUUM_MS: Final = (
    "SELECT setting::integer + 1000 FROM pg_settings WHERE name = 'deadlock_timeout'"
)
# The modes that conflict with ours. A process without a row in pg_stat_activity is a prepared transaction.
HOLDERS: Final = (
    "SELECT held.pid, held.mode = 'ShareUpdateExclusiveLock', coalesce(nullif(activity.application_name, ''), 'unnamed'), "
    "coalesce(activity.state, 'state unknown'), extract(epoch FROM clock_timestamp() - activity.xact_start)::integer "
    "FROM pg_locks AS held LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid "
    "WHERE held.locktype = 'relation' AND held.relation = 'eventsource_app_event'::regclass AND held.granted "
    "AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND held.mode NOT IN ('AccessShareLock', 'SIReadLock') ORDER BY activity.xact_start, held.pid"
)


class TableBusyError(EventSourceError):
    """Others hold the event table; the import goes on when it is run again."""


class Holder(NamedTuple):
    """Who holds the event table; ``is_upkeep`` for a lock such as VACUUM has, which hinders no append."""

    pid: int | None
    is_upkeep: bool
    application: str
    state: str
    seconds: int | None

    def __str__(self) -> str:
        since = "" if self.seconds is None else f" for {self.seconds:,} s"
        return f"process {self.pid or 'unknown'} ({self.application}, {self.state}{since})"


def lock_event_table(using: str, try_ms: int) -> None:
    """Hold the table against every append until the transaction ends; raises ``TableBusyError`` after so long a wait."""
    execute(using, LIMIT_WAIT, (f"{try_ms}ms",))
    try:
        execute(using, LOCK)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise TableBusyError("The event table is held by others.") from error
        raise
    execute(using, RESTORE_LIMIT)


def patiently(attempt: Callable[[int], int], using: str) -> int:
    """Return what ``attempt`` does, a transaction that waits for the table so many milliseconds; repeat it while that is too short.

    Raises ``TableBusyError`` with who holds the table, when that has gone on for ``PATIENCE_SECONDS``.
    """
    waited, pause, try_ms, has_outlasted = 0.0, FIRST_PAUSE_SECONDS, TRY_MS, False
    while True:
        try:
            return attempt(try_ms)
        except TableBusyError:
            holders = [Holder(*row) for row in fetch_all(using, HOLDERS)]
        waited += try_ms / 1000 + pause
        if waited > PATIENCE_SECONDS:
            raise TableBusyError(_gave_up(holders))
        _tell(holders, pause)
        wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        try_ms = TRY_MS
        if not has_outlasted and holders and all(holder.is_upkeep for holder in holders):
            try_ms, has_outlasted = fetch_one(using, OUTLAST_AUTOVACUUM_MS)[0], True


def _tell(holders: list[Holder], pause: float) -> None:
    extra = {"holder": str(holders[0]) if holders else None, "delay_seconds": pause}
    logger.info("Import waits for the event table", extra=extra)


def _gave_up(holders: list[Holder]) -> str:
    return (
        f"Others have held the event table against the import for {PATIENCE_SECONDS:,.0f} s, "
        f"the last of them {holders[0] if holders else 'unknown'}; end that transaction, then run the import again to go on."
    )
