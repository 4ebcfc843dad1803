"""The rules of health: frozen rows in, a document out. No database, no clock.

A subscription is as well as its worst finding, and the engine as its worst subscription.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import Final

from eventsource_app.subscriptions.config import HealthCheckConfig
from eventsource_app.subscriptions.health.facts import (
    EMPTY_LOG_HEAD,
    RATE_MINUTES,
    HealthFacts,
    PartitionFacts,
)
from eventsource_app.subscriptions.health.reports import (
    MANAGER_NOT_INITIALIZED,
    HealthReport,
    HealthStatus,
    SubscriptionHealth,
)

# The state a subscription shows when its partitions differ: the one that most needs somebody to look.
STATES_BY_URGENCY: Final = ("running", "rebuilding", "paused", "stopped")

Finding = tuple[HealthStatus, str]


def assess(facts: HealthFacts, config: HealthCheckConfig) -> HealthReport:
    """Return the report on these facts."""
    subscriptions = tuple(
        _subscription(facts, config, name, tuple(rows))
        for name, rows in groupby(facts.partitions, key=lambda row: row.subscription)
    )
    running = facts.live_workers > 0
    statuses = [subscription.status for subscription in subscriptions]
    return HealthReport(
        status=HealthStatus.worst(statuses) if running else HealthStatus.UNHEALTHY,
        reason=None if running else MANAGER_NOT_INITIALIZED,
        running=running,
        subscription_count=len(subscriptions),
        healthy_count=statuses.count(HealthStatus.HEALTHY),
        degraded_count=statuses.count(HealthStatus.DEGRADED),
        unhealthy_count=statuses.count(HealthStatus.UNHEALTHY) + statuses.count(HealthStatus.CRITICAL),
        total_events_processed=sum(s.events_processed for s in subscriptions),
        total_events_failed=sum(s.events_failed for s in subscriptions),
        total_lag_events=sum(s.lag_events for s in subscriptions),
        uptime_seconds=_seconds_since(facts.oldest_worker_started_at, facts.now),
        timestamp=facts.now,
        subscriptions=subscriptions,
    )


def _subscription(
    facts: HealthFacts,
    config: HealthCheckConfig,
    name: str,
    rows: tuple[PartitionFacts, ...],
) -> SubscriptionHealth:
    error_rate = rows[0].failed_in_last_minutes / RATE_MINUTES
    findings = [
        *_ownership(rows),
        *_state(rows, facts.head),
        *_frozen(rows, facts, config),
        *_lag(max(row.lag_events(facts.head) for row in rows), config),
        *_dead_letters(sum(row.dead_letters for row in rows), config),
        *_errors(rows[0].failed_in_last_hour, error_rate, config),
    ]
    failed_last = max(rows, key=lambda row: row.last_error_at.timestamp() if row.last_error_at else 0.0)
    owned_since = [row.started_at for row in rows if row.owner_is_live and row.started_at]
    return SubscriptionHealth(
        name=name,
        status=HealthStatus.worst(status for status, _ in findings),
        state=max((row.state for row in rows), key=_urgency),
        events_processed=sum(row.events_processed for row in rows),
        events_failed=sum(row.events_failed for row in rows),
        lag_events=max(row.lag_events(facts.head) for row in rows),
        lag_seconds=round(max(row.lag_seconds for row in rows), 3),
        error_rate=round(error_rate, 3),
        last_error=failed_last.last_error or None,
        uptime_seconds=_seconds_since(min(owned_since, default=None), facts.now),
        partitions=rows[0].partition_count,
        dead_letters=sum(row.dead_letters for row in rows),
        reasons=tuple(reason for _, reason in findings),
    )


def _ownership(rows: tuple[PartitionFacts, ...]) -> Iterator[Finding]:
    orphans = [str(row.partition) for row in rows if not row.owner_is_live]
    if orphans:
        yield HealthStatus.UNHEALTHY, f"no live owner of partition {', '.join(orphans)}"
    if len(rows) != rows[0].partition_count:
        yield HealthStatus.UNHEALTHY, f"{len(rows)} of {rows[0].partition_count} partitions have a checkpoint"


def _state(rows: tuple[PartitionFacts, ...], head: int) -> Iterator[Finding]:
    states = {row.state for row in rows}
    if "stopped" in states:
        yield HealthStatus.UNHEALTHY, "stopped"
    if "paused" in states:
        yield HealthStatus.DEGRADED, "paused"
    if "rebuilding" in states:
        yield HealthStatus.DEGRADED, "rebuilding: its answers are incomplete"
    breakers = {row.breaker for row in rows}
    if "open" in breakers:
        yield HealthStatus.UNHEALTHY, "circuit breaker open"
    if "half_open" in breakers:
        yield HealthStatus.DEGRADED, "circuit breaker half open"
    furthest = max(row.position for row in rows)
    if furthest > max(head, EMPTY_LOG_HEAD):
        yield HealthStatus.UNHEALTHY, f"checkpoint {furthest} is ahead of the log, which ends at {head}"


def _frozen(
    rows: tuple[PartitionFacts, ...], facts: HealthFacts, config: HealthCheckConfig
) -> Iterator[Finding]:
    """The log's head has moved, and the checkpoint has not followed."""
    row = max(rows, key=lambda row: row.frozen_seconds)
    if not row.frozen_seconds or row.frozen_seconds < config.max_frozen_seconds:
        return
    sentence = (
        f"frozen: partition {row.partition} has stood at {row.position} for {row.frozen_seconds:.0f} seconds"
    )
    if facts.fence_pid is not None and facts.fence_age_seconds >= config.max_frozen_seconds:
        sentence += (
            f"; the transaction of server process {facts.fence_pid} has appended "
            f"and been open for {facts.fence_age_seconds:.0f} seconds"
        )
    yield HealthStatus.UNHEALTHY, sentence


def _lag(lag: int, config: HealthCheckConfig) -> Iterator[Finding]:
    thresholds = (config.max_lag_events_warning, config.max_lag_events_critical)
    yield from _threshold(lag, *thresholds, "lag of {value} events reaches {limit}")


def _dead_letters(count: int, config: HealthCheckConfig) -> Iterator[Finding]:
    thresholds = (config.max_dead_letters_warning, config.max_dead_letters_critical)
    yield from _threshold(count, *thresholds, "{value} dead letters reach {limit}")


def _errors(count: int, rate: float, config: HealthCheckConfig) -> Iterator[Finding]:
    """Failures of the last hour and their present rate per minute, so that what has healed becomes healthy."""
    thresholds = (config.max_errors_warning, config.max_errors_critical)
    yield from _threshold(count, *thresholds, "{value} errors in an hour reach {limit}")
    if rate > 0 and rate >= config.max_error_rate_per_minute:
        yield (
            HealthStatus.DEGRADED,
            f"{rate:.1f} errors per minute reach {config.max_error_rate_per_minute:g}",
        )


def _threshold(value: int, warning: int, critical: int, sentence: str) -> Iterator[Finding]:
    """Reaching a limit counts; nothing at all never does, even against a limit of 0."""
    if value <= 0 or value < warning:
        return
    status, limit = (
        (HealthStatus.CRITICAL, critical) if value >= critical else (HealthStatus.DEGRADED, warning)
    )
    yield status, sentence.format(value=value, limit=limit)


def _urgency(state: str) -> int:
    return STATES_BY_URGENCY.index(state) if state in STATES_BY_URGENCY else len(STATES_BY_URGENCY)


def _seconds_since(moment: datetime | None, now: datetime) -> float:
    return round(max(0.0, (now - moment).total_seconds()), 3) if moment else 0.0
