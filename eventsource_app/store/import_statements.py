"""The statements of an import. The lines lie in a temporary table, first as JSON, then as columns."""

from typing import Final

from eventsource_app.store.verification import SLOT

CREATE_LINES: Final = (
    "CREATE TEMPORARY TABLE eventsource_import_line (number bigint, line jsonb) ON COMMIT DROP"
)
COPY_LINES: Final = "COPY eventsource_import_line (number, line) FROM STDIN"
RECORD: Final = (
    "position bigint, event_id uuid, event_type varchar(200), schema_version smallint, aggregate_type varchar(200), "
    "aggregate_id uuid, aggregate_version integer, occurred_at timestamptz, recorded_at timestamptz, "
    "correlation_id varchar(200), causation_id uuid, actor_id varchar(200), metadata jsonb, data jsonb"
)
# The slot follows from the aggregate's id, so the line's own is not trusted.
CREATE_IMPORTED: Final = (
    "CREATE TEMPORARY TABLE eventsource_imported ON COMMIT DROP AS "  # noqa: S608 - constants only
    f"SELECT number, {SLOT.format(id='event.aggregate_id')} AS slot, event.* "
    f"FROM eventsource_import_line, jsonb_to_record(line) AS event({RECORD})"
)
READ_ONE: Final = f"SELECT event.* FROM jsonb_to_record(%s::jsonb) AS event({RECORD})"  # noqa: S608 - constants only

STORED_UP_TO: Final = "SELECT coalesce(max(position), 0) FROM eventsource_app_event"
# Beside the usual fence, one whose key lies below the chunk: its positions may be below the sequence's last value.
TAKE_FENCE_BELOW: Final = "SELECT pg_advisory_xact_lock_shared((x'4556'::bigint << 48) | (%s::bigint - 1))"

COLUMNS: Final = (
    "position",
    "event_id",
    "event_type",
    "schema_version",
    "aggregate_type",
    "aggregate_id",
    "aggregate_version",
    "slot",
    "occurred_at",
    "recorded_at",
    "correlation_id",
    "causation_id",
    "actor_id",
    "metadata",
    "data",
)


def _row(alias: str) -> str:
    """Return the event's columns for a comparison to the letter: 1.0 and 1.00 are equal as jsonb, not as text."""
    names = (f"{alias}.{name}" + ("::text" if name in ("metadata", "data") else "") for name in COLUMNS)
    return f"({', '.join(names)})"


FIRST_DIFFERENCE: Final = (
    "SELECT i.number, i.position, i.event_id, "  # noqa: S608 - constants only
    "CASE WHEN e.position IS NULL THEN 'nothing' WHEN e.event_id = i.event_id THEN 'the same event with other content' "
    "ELSE 'event ' || e.event_id END "
    "FROM eventsource_imported i LEFT JOIN eventsource_app_event e ON e.position = i.position "
    f"WHERE i.position <= %s AND {_row('e')} IS DISTINCT FROM {_row('i')} "
    "ORDER BY i.position LIMIT 1"
)
FIRST_NEW: Final = (
    "SELECT number, position FROM eventsource_imported WHERE position > %s ORDER BY position LIMIT 1"
)
CHECKPOINT_AT_OR_ABOVE: Final = (
    "SELECT subscription, position FROM eventsource_app_checkpoint WHERE position >= %s "
    "ORDER BY position DESC LIMIT 1"
)
LIVE_READER_PAST: Final = (
    "SELECT c.owner, s.last_value FROM eventsource_app_checkpoint c, eventsource_app_event_position_seq s "
    "WHERE c.owner IS NOT NULL AND c.lease_expires_at > clock_timestamp() AND s.last_value >= %s LIMIT 1"
)
FIRST_TAKEN: Final = (
    "WITH new AS (SELECT * FROM eventsource_imported WHERE position > %s) "
    "SELECT new.number, new.event_id, e.position FROM new JOIN eventsource_app_event e ON e.event_id = new.event_id "
    "UNION ALL SELECT new.number, new.event_id, e.position FROM new JOIN eventsource_app_event e "
    "ON e.aggregate_id = new.aggregate_id AND e.aggregate_type = new.aggregate_type "
    "AND e.aggregate_version = new.aggregate_version ORDER BY 1 LIMIT 1"
)
INSERT: Final = (
    f"INSERT INTO eventsource_app_event ({', '.join(COLUMNS)}) SELECT {', '.join(COLUMNS)} "  # noqa: S608 - constants only
    "FROM eventsource_imported WHERE position > %s ORDER BY position"
)
FIRST_GAP: Final = (
    "SELECT i.number, i.aggregate_version, i.aggregate_type || ' ' || i.aggregate_id FROM eventsource_imported i "
    "WHERE i.position > %s AND i.aggregate_version > 1 AND NOT EXISTS (SELECT FROM eventsource_app_event p "
    "WHERE p.aggregate_id = i.aggregate_id AND p.aggregate_type = i.aggregate_type "
    "AND p.aggregate_version = i.aggregate_version - 1 AND p.position < i.position) ORDER BY i.position LIMIT 1"
)
RAISE_SEQUENCE: Final = (
    "SELECT setval('eventsource_app_event_position_seq', greatest(last_value, %s::bigint)) "
    "FROM eventsource_app_event_position_seq"
)
