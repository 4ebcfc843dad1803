"""Logs of any size, made inside the database: what a benchmark reads needs not pass through Python."""

from uuid import UUID

from tests.benchmarks.server import Bench

# Streams of ten payments each; the slot is the last ten bits of the id's sha256, as eventsource_app.store.slots has it.
FILL = """
INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id,
    aggregate_version, slot, occurred_at, metadata, data)
SELECT gen_random_uuid(), 'MoneyPaidIn', 1, 'Account', stream.id, version,
       ((get_byte(stream.digest, 30) & 3) << 8) | get_byte(stream.digest, 31), clock_timestamp(), '{}',
       jsonb_build_object('amount', '12.50')
  FROM (SELECT id, sha256(id::text::bytea) AS digest
          FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %s)) AS ids) AS stream
 CROSS JOIN generate_series(1, 10) AS version
"""

COPY_TO_BARE = """
INSERT INTO bare_event OVERRIDING SYSTEM VALUE SELECT * FROM eventsource_app_event ORDER BY position;
SELECT setval(pg_get_serial_sequence('bare_event', 'position'), (SELECT max(position) FROM bare_event));
"""


def fill(bench: Bench, events: int, database: str) -> None:
    """Add so many events (a multiple of ten), in streams of ten."""
    with bench.connect(database) as connection:
        for start in range(0, events, 100_000):
            connection.execute(FILL, (min(100_000, events - start) // 10,))
        connection.execute("VACUUM ANALYZE eventsource_app_event")
        connection.execute("CHECKPOINT")


def copy_to_bare(bench: Bench, database: str) -> None:
    """Give the other side's table the same events."""
    with bench.connect(database) as connection:
        connection.execute(COPY_TO_BARE)
        connection.execute("VACUUM ANALYZE bare_event")
        connection.execute("CHECKPOINT")


def account_ids(bench: Bench, database: str, count: int) -> list[UUID]:
    """Return ids of streams of ten, spread over the log."""
    sql = (
        "SELECT aggregate_id FROM eventsource_app_event WHERE aggregate_version = 10 "
        "ORDER BY md5(aggregate_id::text) LIMIT %s"
    )
    with bench.connect(database) as connection:
        return [row[0] for row in connection.execute(sql, (count,)).fetchall()]
