"""The other side: plain psycopg with the same columns, values and indexes, and nothing that Python could leave out."""

import json
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from typing import Any
from uuid import UUID

import psycopg

from eventsource_app.events.identifiers import uuid7
from eventsource_app.store.notifications import connect
from tests.benchmarks.processes import Operation

PAYLOAD = '{"amount": "12.50"}'
WRITTEN = (
    "event_id, event_type, schema_version, aggregate_type, aggregate_id, aggregate_version, slot, occurred_at, "
    "correlation_id, causation_id, actor_id, metadata, data"
)
INSERT = (
    f"INSERT INTO bare_event ({WRITTEN}) VALUES "
    "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb) RETURNING position"
)
INSERT_MANY = (
    f"INSERT INTO bare_event ({WRITTEN}) SELECT * FROM unnest(%s::uuid[], %s::text[], %s::smallint[], %s::text[], "
    "%s::uuid[], %s::integer[], %s::smallint[], %s::timestamptz[], %s::text[], %s::uuid[], %s::text[], "
    "%s::jsonb[], %s::jsonb[])"
)
READ_OF_STREAM = (
    "event_id, event_type, schema_version, aggregate_version, occurred_at, correlation_id, causation_id, actor_id, "
    "metadata::text, data::text, position"
)
VERSION, DATA, POSITION, AGGREGATE_ID = 3, 9, 10, 12  # where they stand in these
READ = f"{READ_OF_STREAM}, aggregate_type, aggregate_id, recorded_at"
STREAM = "WHERE aggregate_id = %s AND aggregate_type = %s ORDER BY aggregate_version"
SELECT_STREAM = f"SELECT {READ_OF_STREAM} FROM eventsource_app_event {STREAM}"
SELECT_BARE_STREAM = f"SELECT {READ_OF_STREAM} FROM bare_event {STREAM}"
SELECT_LOG = f"SELECT {READ} FROM eventsource_app_event WHERE position > %s ORDER BY position LIMIT %s"


def row(aggregate_id: UUID, version: int) -> tuple[Any, ...]:
    now = datetime.now(UTC)
    place = ("Account", aggregate_id, version, 7)
    return (uuid7(), "MoneyPaidIn", 1, *place, now, None, None, None, "{}", PAYLOAD)


def insert_one(using: str = "default") -> Operation:
    """One event of a new aggregate per call, in autocommit."""
    cursor = connect(using).cursor()

    def insert() -> int:
        cursor.execute(INSERT, row(uuid7(), 1), prepare=True).fetchone()
        return 1

    return insert


def insert_thousand(using: str = "default") -> Operation:
    cursor = connect(using).cursor()

    def insert() -> int:
        aggregate_id = uuid7()
        columns = zip(*(row(aggregate_id, version) for version in range(1, 1001)), strict=True)
        cursor.execute(INSERT_MANY, [list(column) for column in columns], prepare=True)
        return 1000

    return insert


def select_stream(using: str, aggregate_id: UUID) -> Operation:
    """Fetch all events of one stream; counts the events."""
    cursor = connect(using).cursor()
    return partial(_fetch, cursor, SELECT_STREAM, (aggregate_id, "Account"))


def select_and_insert(using: str, aggregate_ids: list[UUID]) -> Operation:
    """Fetch a stream and insert its next event, each a statement in autocommit; one stream after the other."""
    cursor = connect(using).cursor()
    ids = cycle(aggregate_ids)

    def run() -> int:
        aggregate_id = next(ids)
        rows = cursor.execute(SELECT_BARE_STREAM, (aggregate_id, "Account"), prepare=True).fetchall()
        cursor.execute(INSERT, row(aggregate_id, rows[-1][VERSION] + 1), prepare=True).fetchone()
        return 1

    return run


def page_reader(using: str, page: int, start: int = 0) -> Operation:
    """Read the log page by page with ``json.loads`` on each payload, from ``start`` again at its end."""
    cursor = connect(using).cursor()
    after = start

    def read() -> int:
        nonlocal after
        rows = cursor.execute(SELECT_LOG, (after, page), prepare=True).fetchall()
        decoded = [json.loads(found[DATA]) for found in rows]
        after = rows[-1][POSITION] if len(rows) == page else start
        return len(decoded)

    return read


def _fetch(cursor: psycopg.Cursor[Any], sql: str, params: tuple[Any, ...]) -> int:
    return len(cursor.execute(sql, params, prepare=True).fetchall())
