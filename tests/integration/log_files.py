"""A log to export, to import again and to verify."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from django.db import connection

from eventsource_app.store.exporting import export_events
from eventsource_app.store.importing import ImportResult, import_events
from eventsource_app.store.verification import Verification, verify
from tests import builders

# Numbers, letters, escapes and empty things whose text must come back to the byte.
FILL = """
INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id,
    aggregate_version, slot, occurred_at, correlation_id, causation_id, actor_id, metadata, data)
SELECT gen_random_uuid(), 'Noted', 1 + version %% 3, 'Übung "1"', stream.id, version,
       ((get_byte(stream.digest, 30) & 3) << 8) | get_byte(stream.digest, 31),
       timestamptz '2026-01-31 23:59:59.9+01' + random() * interval '1 year', CASE WHEN version %% 2 = 0 THEN 'a\\b"c' END,
       CASE WHEN version %% 3 = 0 THEN gen_random_uuid() END, CASE WHEN version %% 5 = 0 THEN 'ß\n\t' END,
       jsonb_build_object('n', version), jsonb_build_object('price', '1.100'::numeric, 'text', E'\\u00e9\\n"\\\\', 'big',
       12345678901234567890123::numeric, 'random', random(), 'nothing', null, 'list', '[1, {}, []]'::jsonb)
  FROM (SELECT id, sha256(id::text::bytea) AS digest
          FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %s)) AS ids) AS stream
 CROSS JOIN generate_series(1, 10) AS version
"""


def fill_log(events: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FILL, [events // 10])


def exported() -> bytes:
    file = BytesIO()
    export_events(file)
    return file.getvalue()


def import_log(log: bytes, chunk_lines: int = 5000) -> ImportResult:
    return import_events(log.splitlines(keepends=True), chunk_lines=chunk_lines)


def truncate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE eventsource_app_event")


def moved(line: bytes, by: int) -> bytes:
    event = json.loads(line)
    return json.dumps({**event, "position": event["position"] + by}).encode()


def in_a_thread(action: Callable[[], object]) -> None:
    """Run it to its end on a connection of its own."""

    def run() -> None:
        try:
            action()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def verified() -> Verification:
    return verify(registry=builders.registry)
