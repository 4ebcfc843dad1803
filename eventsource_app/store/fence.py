"""How far the log may be read: never past an append that is still running.

Every append holds a shared advisory lock whose key is the position it started above; the bound is the least of those
and the sequence's last value (migration 0002 has both halves). Appenders never wait for each other or for readers.
"""

from dataclasses import dataclass

from eventsource_app.store.session import fetch_one

SEQUENCE = "eventsource_app_event_position_seq"
READ_BOUND = "SELECT bound, head FROM eventsource_read_bound()"
HEAD = f"SELECT last_value - (NOT is_called)::int FROM {SEQUENCE}"  # noqa: S608
# A condition on pg_locks AS held: the lock is the fence of an append that runs in this database, and not our own.
FENCE_IS_HELD = """held.locktype = 'advisory' AND held.objsubid = 1 AND held.mode = 'ShareLock' AND held.granted
       AND held.classid::bigint >> 16 = x'4556'::bigint
       AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND held.pid IS DISTINCT FROM pg_backend_pid()"""
# Two conditions that are always true, for a statement whose rows draw their position afterwards, as every column is
# computed for a row that has passed. A statement that is a transaction of its own takes the lock; one that joins a
# transaction takes it unless an earlier one did, as the functions of migration 0002 do: the locks of one are bounded.
_LOCK = f"pg_advisory_xact_lock_shared((x'4556'::bigint << 48) | coalesce(pg_sequence_last_value('{SEQUENCE}'), 0))"
TAKES_FENCE = f"{_LOCK} IS NOT NULL"
HOLDS_FENCE = f"""CASE WHEN coalesce(current_setting('eventsource.fence', true), '') = ''
    THEN set_config('eventsource.fence', {_LOCK}::text || 'held', true) <> '' ELSE true END"""
TAKE_FENCE = "SELECT eventsource_take_fence()"


@dataclass(frozen=True, slots=True)
class ReadBound:
    """``bound``: the last position that is safe to read, for ever. ``head``: the last position handed out."""

    bound: int
    head: int


def read_bound(using: str) -> ReadBound:
    """Ask the database for the present bound; raises ``OperationalError`` on a standby or above READ COMMITTED."""
    return ReadBound(*fetch_one(using, READ_BOUND))


def head_position(using: str) -> int:
    """Return the last position handed out; 1 on an empty log, whose position 1 is never used."""
    return int(fetch_one(using, HEAD)[0])
