"""What must be there after a restore, and what must not: told from the log's rows, noted before the disaster."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

ROWS = "SELECT position, md5(e::text), recorded_at FROM eventsource_app_event AS e ORDER BY position"
# Before the time is read, so what this snapshot shows was committed before that time.
MOMENT = "SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text"


@dataclass(frozen=True, slots=True)
class Log:
    """The log at one moment: position -> (digest of the whole row, recorded at)."""

    rows: dict[int, tuple[str, datetime]]

    @classmethod
    def read(cls, database: psycopg.Connection[Any]) -> "Log":
        return cls({position: (digest, at) for position, digest, at in database.execute(ROWS)})

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Point:
    """A point in time, the log that was committed before it, and a place in the write-ahead log after it."""

    log: Log
    time: datetime
    place: str

    @classmethod
    def now(cls, database: psycopg.Connection[Any]) -> "Point":
        log = Log.read(database)
        row = database.execute(MOMENT).fetchone()
        assert row is not None
        return cls(log, *row)


def differences(point: Point, last_seen: Log, restored: Log) -> list[str]:
    """Hold the restored log against what was noted: all that was committed by the point, nothing recorded after it."""
    missing = point.log.rows.keys() - restored.rows.keys()
    too_late = [position for position, (_, at) in restored.rows.items() if at > point.time]
    strange = [
        position for position, row in restored.rows.items() if last_seen.rows.get(position, row) != row
    ]
    unknown = restored.rows.keys() - last_seen.rows.keys()
    found = {
        "events committed before the point are missing": sorted(missing),
        "events recorded after the point are there": too_late,
        "events differ from what was stored": strange,
        "events were never stored before": sorted(unknown),
    }
    return [f"{len(which)} {what}, such as {which[:3]}" for what, which in found.items() if which]
