"""The desk: every page on a log of a million events with ten thousand dead letters, beside the same on an empty log."""

import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.urls import reverse

from tests.benchmarks.server import DATABASE, Bench
from tests.benchmarks.workload import Sides, of_ours_at_most, workload

EVENTS: Final = 1_000_000
LETTERS: Final = 10_000
LIMIT_MS: Final = 300.0
# Orders of ten events, each event of a request of its own but for the first two.
FILL: Final = """
INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id,
    aggregate_version, slot, occurred_at, correlation_id, metadata, data)
SELECT gen_random_uuid(), CASE WHEN version = 1 THEN 'OrderCreated' ELSE 'OrderDelivered' END, 1, 'Order', stream.id,
       version, ((get_byte(stream.digest, 30) & 3) << 8) | get_byte(stream.digest, 31), clock_timestamp(),
       'req-' || stream.number || '-' || greatest(version, 2), '{}',
       CASE WHEN version = 1 THEN '{"customer_id": "ada", "total": "12.50"}'::jsonb ELSE '{}'::jsonb END
  FROM (SELECT number, id, sha256(id::text::bytea) AS digest
          FROM (SELECT number, gen_random_uuid() AS id FROM generate_series(%s::int, %s::int) AS number) AS ids) AS stream
 CROSS JOIN generate_series(1, 10) AS version
"""
LETTER: Final = """
INSERT INTO eventsource_app_deadletter (subscription, position, event_id, event_type, aggregate_type, aggregate_id, slot,
    scope, state, error_type, error_message, traceback, category, severity, retry_count, closed_by, close_reason)
SELECT 'orders', position, event_id, event_type, aggregate_type, aggregate_id, slot, 'aggregate',
       CASE WHEN position %% 3 = 0 THEN 'dead' ELSE 'parked' END, 'builtins.' || (ARRAY['ValueError', 'KeyError'])[position %% 2 + 1],
       'no such customer', repeat('  File "x.py", line 1' || chr(10), 40), 'application', 'medium', 5, '', ''
  FROM eventsource_app_event WHERE aggregate_version = 1 ORDER BY position DESC LIMIT %s
"""
CHECKPOINT: Final = """
INSERT INTO eventsource_app_checkpoint (subscription, partition, partition_count, position, epoch,
    unclean_takeover_count, careful_death_count, state, state_reason, state_changed_by, parked_generation, breaker,
    events_processed, events_failed, retry_count, batch_count, last_error)
SELECT name, part, 4, (SELECT max(position) FROM eventsource_app_event), 0, 0, 0, 'running', '', '', 0, 'closed', 1, 0, 0, 0, ''
  FROM unnest(ARRAY['orders', 'customers', 'mails', 'stock']) AS name, generate_series(0, 3) AS part
"""
SAMPLES: Final = """
INSERT INTO eventsource_app_subscriptionsample (subscription, partition, tick, sampled_at, lag_events, lag_seconds,
    events_processed, events_failed)
SELECT name, part, tick, clock_timestamp() - make_interval(secs => 30 * (719 - tick)), tick % 90, 1.5, tick * 100, 0
  FROM unnest(ARRAY['orders', 'customers', 'mails', 'stock']) AS name, generate_series(0, 3) AS part, generate_series(0, 719) AS tick
"""
TABLES: Final = ("event", "deadletter", "checkpoint", "subscriptionsample")


def _fill(bench: Bench) -> dict[str, str]:
    """Fill the benchmark's database once; return the pages by name."""
    with bench.connect(DATABASE) as connection:
        row = connection.execute("SELECT count(*) FROM eventsource_app_deadletter").fetchone()
        if row == (0,):
            for start in range(1, EVENTS // 10, 10_000):
                connection.execute(FILL, (start, start + 9_999))
            connection.execute(LETTER, (LETTERS,))
            connection.execute(CHECKPOINT)
            connection.execute(SAMPLES)
            for table in TABLES:
                connection.execute(f"VACUUM (ANALYZE) eventsource_app_{table}")
        found = connection.execute(
            "SELECT id, aggregate_id FROM eventsource_app_deadletter ORDER BY id LIMIT 1"
        ).fetchone()
    assert found is not None
    return _pages(*found)


def _pages(letter_id: int, aggregate_id: object) -> dict[str, str]:
    events = reverse("admin:eventsource_app_event_changelist")
    letters = reverse("admin:eventsource_app_deadletter_changelist")
    correlation = reverse("admin:eventsource_app_event_correlation")
    return {
        "start": reverse("admin:index"),
        "subscriptions": reverse("admin:eventsource_app_checkpoint_changelist"),
        "letters": letters,
        "letters-filtered": f"{letters}?{urlencode({'state': 'dead', 'error_type': 'builtins.KeyError'})}",
        "letters-page-100": f"{letters}?p=100",
        "letters-of-aggregate": f"{letters}?q={aggregate_id}",
        "letter": reverse("admin:eventsource_app_deadletter_change", args=[letter_id]),
        "retry-all": reverse("admin:eventsource_app_deadletter_matching", args=["retry"]),
        "events": events,
        "events-deep": f"{events}?before=500000",
        "events-of-a-type": f"{events}?event_type=OrderCreated",
        "events-of-a-rare-type": f"{events}?event_type=OrderCancelled",
        "search-aggregate": f"{events}?q={aggregate_id}",
        "search-correlation": f"{events}?q=req-50000-7",
        "search-nothing": f"{events}?q=nothing",
        "stream": reverse("admin:eventsource_app_event_stream", args=["Order", aggregate_id]),
        "correlation": f"{correlation}?id=req-50000-2",
        "audit-trail": reverse("admin:admin_logentry_changelist"),
    }


def _client() -> Client:
    user, _ = User.objects.get_or_create(username="ada", defaults={"is_staff": True, "is_superuser": True})
    client = Client()
    client.force_login(user)
    return client


def _milliseconds(client: Client, path: str) -> Callable[[], float]:
    def once() -> float:
        started = time.perf_counter()
        response = client.get(path)
        elapsed = (time.perf_counter() - started) * 1000
        assert response.status_code == 200, (path, response.status_code)
        return elapsed

    return once


def _declare(name: str) -> None:
    @workload(
        f"desk-{name}",
        title=f"desk: {name.replace('-', ' ')}",
        reference="the log-in page",
        unit="ms",
        goal=of_ours_at_most(LIMIT_MS),
        full_only=True,
    )
    def page(bench: Bench) -> Iterator[Sides]:
        pages = _fill(bench)
        try:
            yield Sides(_milliseconds(_client(), pages[name]), _milliseconds(Client(), "/admin/login/"))
        finally:
            connections.close_all()


for each in (
    "start", "subscriptions", "letters", "letters-filtered", "letters-page-100", "letters-of-aggregate", "letter",
    "retry-all", "events", "events-deep", "events-of-a-type", "events-of-a-rare-type", "search-aggregate",
    "search-correlation", "search-nothing", "stream", "correlation", "audit-trail",
):  # fmt: skip
    _declare(each)
