"""The rows behind health, read in one statement and one round trip."""

from typing import Final

from django.db import connections

from eventsource_app.store.session import option
from eventsource_app.subscriptions.config import HealthCheckConfig
from eventsource_app.subscriptions.health.facts import HealthFacts, PartitionFacts
from eventsource_app.subscriptions.health.reports import HealthReport
from eventsource_app.subscriptions.health.rules import assess
from eventsource_app.subscriptions.heartbeats import STALE_SECONDS

PROBE_TIMEOUT_MS: Final = 1500

# One statement, so one snapshot: the sequence is read after the snapshot was taken and never runs behind a checkpoint
# in it. A lease is not renewed while its batch runs, so a worker whose heart beats still owns a row whose lease is over.
FACTS: Final = f"""
WITH worker AS (
    SELECT worker_id, started_at FROM eventsource_app_workerheartbeat
     WHERE beat_at > clock_timestamp() - interval '{STALE_SECONDS} seconds'
       AND phase NOT IN ('stopped', 'forced'))
SELECT clock_timestamp(), log.last_value,
       (SELECT count(*) FROM worker), (SELECT min(started_at) FROM worker),
       c.subscription, c.partition, c.partition_count, c.position,
       CASE WHEN c.state = 'running' AND c.position < c.rebuild_target THEN 'rebuilding' ELSE c.state END, c.breaker, c.owner,
       c.owner IS NOT NULL AND (c.lease_expires_at > clock_timestamp()
                                OR EXISTS (SELECT FROM worker WHERE worker.worker_id = c.owner)),
       c.events_processed, c.events_failed, c.last_error, c.last_error_at, c.started_at,
       coalesce(greatest(extract(epoch FROM clock_timestamp() - oldest.recorded_at), 0), 0)::float8,
       letters.amount
  FROM (SELECT last_value FROM eventsource_app_event_position_seq) AS log
  LEFT JOIN eventsource_app_checkpoint AS c ON true
  LEFT JOIN LATERAL (SELECT e.recorded_at FROM eventsource_app_event AS e
                      WHERE e.position > c.position ORDER BY e.position LIMIT 1) AS oldest ON true
  LEFT JOIN LATERAL (SELECT count(*) AS amount FROM eventsource_app_deadletter AS d
                      WHERE d.subscription = c.subscription AND d.slot % c.partition_count = c.partition
                        AND d.state IN ('parked', 'retrying', 'dead')) AS letters ON true
 ORDER BY c.subscription, c.partition
"""  # noqa: S608 - the only value is a constant
# Sent in one message the two share a transaction, so the session keeps its own timeout afterwards.
SHORT: Final = f"SET LOCAL statement_timeout = {PROBE_TIMEOUT_MS};"


def health_report(using: str = "default", config: HealthCheckConfig | None = None) -> HealthReport:
    """Return the health of all subscriptions, as the rows of database ``using`` tell it.

    ``config`` defaults to ``EVENTSOURCE["HEALTH"]``. Raises Django's ``DatabaseError`` when the rows cannot be read.
    """
    return assess(health_facts(using), config or HealthCheckConfig(**option("HEALTH", {})))


def health_facts(using: str = "default") -> HealthFacts:
    """Read the rows: one query, ended by the server after 1.5 seconds unless the caller has a transaction open."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            # The caller's transaction has timeouts of its own, and SET LOCAL would last until its end.
            cursor.execute(FACTS)
        else:
            cursor.execute(SHORT + FACTS)
            cursor.nextset()
        rows = cursor.fetchall()
    now, head, live_workers, oldest_started_at = rows[0][:4]
    partitions = tuple(PartitionFacts(*row[4:]) for row in rows if row[4] is not None)
    return HealthFacts(now, head, live_workers, oldest_started_at, partitions)
