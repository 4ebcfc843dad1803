"""The rows behind health, read in one statement and one round trip."""

from typing import Final

from django.db import connections

from eventsource_app.store.fence import FENCE_IS_HELD
from eventsource_app.store.session import log_database, option
from eventsource_app.subscriptions.config import HealthCheckConfig
from eventsource_app.subscriptions.health.facts import RATE_MINUTES, HealthFacts, PartitionFacts
from eventsource_app.subscriptions.health.reports import HealthReport
from eventsource_app.subscriptions.health.rules import assess
from eventsource_app.subscriptions.heartbeats import STALE_SECONDS

PROBE_TIMEOUT_MS: Final = 1500

# One statement, so one snapshot: the sequence is read after the snapshot was taken and never runs behind a checkpoint
# in it. A lease is not renewed while its batch runs, so a worker whose heart beats still owns a row whose lease is over.
# What failed in the last hour is what was counted since the hour's first sample: a counter only grows, so its least
# value is its first, and after a change of partitions the sum over all of them still holds.
FACTS: Final = f"""
WITH worker AS (
    SELECT worker_id, started_at FROM eventsource_app_workerheartbeat
     WHERE beat_at > clock_timestamp() - interval '{STALE_SECONDS} seconds'
       AND phase NOT IN ('stopped', 'forced')),
fence AS (
    SELECT extract(epoch FROM clock_timestamp() - activity.xact_start)::float8 AS age, activity.pid
      FROM pg_locks AS held JOIN pg_stat_activity AS activity ON activity.pid = held.pid
     WHERE {FENCE_IS_HELD} ORDER BY activity.xact_start LIMIT 1),
before AS (
    SELECT subscription, sum(hour) AS hour, sum(minutes) AS minutes
      FROM (SELECT subscription, min(events_failed) AS hour,
                   min(events_failed) FILTER (WHERE sampled_at > clock_timestamp() - interval '{RATE_MINUTES} minutes') AS minutes
              FROM eventsource_app_subscriptionsample
             WHERE sampled_at > clock_timestamp() - interval '1 hour' GROUP BY subscription, partition) AS partitions
     GROUP BY subscription),
letter AS MATERIALIZED (
    SELECT subscription, slot, count(*) FILTER (WHERE state = 'parked') AS parked,
           count(*) FILTER (WHERE state = 'retrying') AS retrying, count(*) FILTER (WHERE state = 'dead') AS dead
      FROM eventsource_app_deadletter WHERE state IN ('parked', 'retrying', 'dead') GROUP BY subscription, slot)
SELECT clock_timestamp(), log.last_value,
       (SELECT count(*) FROM worker), (SELECT min(started_at) FROM worker),
       coalesce((SELECT age FROM fence), 0), (SELECT pid FROM fence),
       c.subscription, c.partition, c.partition_count, c.position,
       CASE WHEN c.state = 'running' AND c.position < c.rebuild_target THEN 'rebuilding' ELSE c.state END, c.breaker, c.owner,
       c.owner IS NOT NULL AND (c.lease_expires_at > clock_timestamp()
                                OR EXISTS (SELECT FROM worker WHERE worker.worker_id = c.owner)),
       c.epoch, c.events_processed, c.events_failed, c.retry_count, c.batch_count, c.last_error, c.last_error_at, c.started_at,
       coalesce(greatest(extract(epoch FROM clock_timestamp() - oldest.recorded_at), 0), 0)::float8,
       CASE WHEN c.state = 'running' AND c.breaker = 'closed' AND oldest.recorded_at IS NOT NULL
            THEN greatest(0, extract(epoch FROM clock_timestamp()
                 - greatest(oldest.recorded_at, c.moved_at, c.state_changed_at, c.rebuild_started_at)))
            ELSE 0 END::float8,
       letters.parked, letters.retrying, letters.dead,
       greatest(0, coalesce(sum(c.events_failed) OVER (PARTITION BY c.subscription) - before.hour, 0))::bigint,
       greatest(0, coalesce(sum(c.events_failed) OVER (PARTITION BY c.subscription) - before.minutes, 0))::bigint
  FROM (SELECT last_value FROM eventsource_app_event_position_seq) AS log
  LEFT JOIN eventsource_app_checkpoint AS c ON true
  LEFT JOIN LATERAL (SELECT e.recorded_at FROM eventsource_app_event AS e
                      WHERE e.position > c.position ORDER BY e.position LIMIT 1) AS oldest ON true
  LEFT JOIN LATERAL (SELECT coalesce(sum(l.parked), 0)::bigint AS parked, coalesce(sum(l.retrying), 0)::bigint AS retrying,
                            coalesce(sum(l.dead), 0)::bigint AS dead
                       FROM letter AS l
                      WHERE l.subscription = c.subscription AND l.slot % c.partition_count = c.partition) AS letters ON true
  LEFT JOIN before ON before.subscription = c.subscription
 ORDER BY c.subscription, c.partition
"""  # noqa: S608 - the only values are constants
LOG_COLUMNS: Final = 6  # what comes before the checkpoint's columns and is the same in every row
# Sent in one message the two share a transaction, so the session keeps its own timeout afterwards.
SHORT: Final = f"SET LOCAL statement_timeout = {PROBE_TIMEOUT_MS};"


def health_report(using: str | None = None, config: HealthCheckConfig | None = None) -> HealthReport:
    """Return the health of all subscriptions, as the rows of database ``using`` tell it.

    ``config`` defaults to ``EVENTSOURCE["HEALTH"]``. Raises Django's ``DatabaseError`` when the rows cannot be read.
    """
    using = using or log_database()
    return assess(health_facts(using), config or HealthCheckConfig(**option("HEALTH", {})))


def health_facts(using: str | None = None) -> HealthFacts:
    """Read the rows: one query, ended by the server after 1.5 seconds unless the caller has a transaction open."""
    using = using or log_database()
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            # The caller's transaction has timeouts of its own, and SET LOCAL would last until its end.
            cursor.execute(FACTS)
        else:
            cursor.execute(SHORT + FACTS)
            cursor.nextset()
        rows = cursor.fetchall()
    now, head, live_workers, oldest_started_at, fence_age, fence_pid = rows[0][:LOG_COLUMNS]
    partitions = tuple(PartitionFacts(*row[LOG_COLUMNS:]) for row in rows if row[LOG_COLUMNS] is not None)
    return HealthFacts(now, head, live_workers, oldest_started_at, fence_age, fence_pid, partitions)
