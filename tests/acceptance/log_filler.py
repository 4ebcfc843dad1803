"""Many orders at once, by one SQL statement: the log of a busy year for catch-up tests."""

from typing import Any

import psycopg

# Two events an order: created, then cancelled (one in four) or shipped. The slot is computed by SQL alone, as
# sha256 of the id's text modulo 1024.
FILL = """
INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id, aggregate_version,
                                   slot, occurred_at, metadata, data)
SELECT gen_random_uuid(), event_type, 1, 'Order', id, version,
       (get_byte(digest, 30) & 3) * 256 + get_byte(digest, 31), now(), '{}', data
  FROM (SELECT number, id, sha256(convert_to(id::text, 'UTF8')) AS digest
          FROM (SELECT number, gen_random_uuid() AS id FROM generate_series(1, %(orders)s) AS number) AS made) AS orders
 CROSS JOIN LATERAL (VALUES
        (1, 'OrderCreated', jsonb_build_object('customer_id', 'cust-' || number %% 97, 'total', number %% 500 || '.25')),
        (2, CASE WHEN number %% 4 = 0 THEN 'OrderCancelled' ELSE 'OrderShipped' END,
            CASE WHEN number %% 4 = 0 THEN '{"reason": "too late"}'::jsonb
                 ELSE jsonb_build_object('tracking_number', 'T-' || number) END)) AS life (version, event_type, data)
 ORDER BY number + version * 7, version
"""


def fill(database: psycopg.Connection[Any], events: int) -> None:
    """Append this many events (an even number), lives interleaved, streams in order, behind the fence as every append."""
    with database.transaction():
        database.execute("SELECT eventsource_take_fence()")
        database.execute(FILL, {"orders": events // 2})
