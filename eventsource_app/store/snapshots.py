"""Snapshots: the state of an aggregate at a version, as JSON text. A shortcut that may be wrong or missing."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from eventsource_app.store.session import execute, fetch_all
from eventsource_app.store.streams import StreamId

COLUMNS: Final = "version, schema_version, fingerprint, event_id, position, state, checksum"
LOAD: Final = (
    f"SELECT {COLUMNS} FROM eventsource_app_snapshot WHERE aggregate_id = %s AND aggregate_type = %s"  # noqa: S608
)
SAVE: Final = f"""
INSERT INTO eventsource_app_snapshot AS stored (aggregate_type, aggregate_id, {COLUMNS})
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (aggregate_id, aggregate_type) DO UPDATE SET
    version = excluded.version, schema_version = excluded.schema_version, fingerprint = excluded.fingerprint,
    event_id = excluded.event_id, position = excluded.position, state = excluded.state, checksum = excluded.checksum,
    created_at = clock_timestamp()
WHERE stored.version < excluded.version OR stored.fingerprint <> excluded.fingerprint
   OR NOT EXISTS (SELECT FROM eventsource_app_event e WHERE e.event_id = stored.event_id)
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot's row; ``event_id`` and ``position`` are those of the stream's event at ``version``."""

    version: int
    schema_version: int
    fingerprint: str
    event_id: UUID
    position: int
    state: str
    checksum: str

    def is_intact(self) -> bool:
        return self.checksum == checksum_of(self.state)


def checksum_of(state: str) -> str:
    return sha256(state.encode()).hexdigest()


def load_snapshot(using: str, stream: StreamId) -> StoredSnapshot | None:
    rows = fetch_all(using, LOAD, (stream.aggregate_id, stream.aggregate_type))
    return StoredSnapshot(*rows[0]) if rows else None


def save_snapshot(using: str, stream: StreamId, snapshot: StoredSnapshot) -> bool:
    """Store a snapshot unless a newer one stands there; one of other code or of another log gives way."""
    values = (
        snapshot.version,
        snapshot.schema_version,
        snapshot.fingerprint,
        snapshot.event_id,
        snapshot.position,
        snapshot.state,
        snapshot.checksum,
    )
    return execute(using, SAVE, (stream.aggregate_type, stream.aggregate_id, *values)) > 0
