"""What the subscriptions page shows: rows, health and history put together, five statements whatever their number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from eventsource_app.admin.charts import Chart, chart
from eventsource_app.models import Checkpoint
from eventsource_app.store.session import log_database, option
from eventsource_app.subscriptions import declared_subscriptions, history
from eventsource_app.subscriptions.config import HealthCheckConfig
from eventsource_app.subscriptions.health import (
    HealthFacts,
    HealthReport,
    PartitionFacts,
    SubscriptionHealth,
    assess,
    health_facts,
)
from eventsource_app.subscriptions.history import Point

POINTS: Final = 120
# A young history fills its chart too.
WINDOWS: Final = (900.0, 3600.0, history.KEPT_SECONDS)


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """One line of a subscription's table."""

    facts: PartitionFacts
    checkpoint: Checkpoint
    lag_events: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """A rebuild that runs: positions over all partitions, and the seconds left at its pace (``None``: too early)."""

    done_count: int
    total_count: int
    started_at: datetime | None
    seconds_left: float | None

    @property
    def percent(self) -> int:
        return 100 * self.done_count // max(self.total_count, 1)


@dataclass(frozen=True, slots=True)
class Card:
    """One subscription. ``is_declared``: the code of this process knows it, so it can be rebuilt or retried from here."""

    health: SubscriptionHealth
    rows: tuple[PartitionRow, ...]
    charts: tuple[Chart, ...]
    is_declared: bool
    rebuilding: Rebuilding | None = None

    @property
    def rate(self) -> float | None:
        known = [row.rate for row in self.rows if row.rate is not None]
        return sum(known) if known else None

    @property
    def first(self) -> Checkpoint:
        return self.rows[0].checkpoint

    @property
    def last_activity_at(self) -> datetime | None:
        return max(
            (row.checkpoint.last_event_at for row in self.rows if row.checkpoint.last_event_at), default=None
        )

    @property
    def is_held(self) -> bool:
        return self.health.state in ("paused", "stopped")


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole page; ``not_started`` are subscriptions that the code declares and no worker has run yet."""

    report: HealthReport
    head: int
    live_workers: int
    chart_seconds: float
    cards: tuple[Card, ...]
    not_started: tuple[str, ...]


def overview() -> Overview:
    """Read the page's rows."""
    using = log_database()
    facts = health_facts(using)
    report = assess(facts, HealthCheckConfig(**option("HEALTH", {})))
    checkpoints = {(row.subscription, row.partition): row for row in Checkpoint.objects.all()}
    rates = history.rates(using=using)
    span = history.span_seconds(using=using)
    seconds = next(window for window in WINDOWS if window >= min(span, history.KEPT_SECONDS))
    points = history.points(seconds, POINTS, using=using)
    known = declared_subscriptions()
    health = {each.name: each for each in report.subscriptions}
    cards = tuple(
        Card(
            health[name],
            rows,
            charts_of(points.get(name, []), facts.now, seconds),
            name in known,
            _rebuilding(rows, facts.now),
        )
        for name, partitions in groupby(facts.partitions, key=lambda each: each.subscription)
        if name in health and (rows := _rows(facts, partitions, checkpoints, rates))
    )
    return Overview(
        report, facts.head, facts.live_workers, seconds, cards, tuple(sorted(set(known) - set(health)))
    )


def _rows(
    facts: HealthFacts,
    partitions: Iterable[PartitionFacts],
    checkpoints: Mapping[tuple[str, int], Checkpoint],
    rates: Mapping[tuple[str, int], float],
) -> tuple[PartitionRow, ...]:
    """A partition that came or went between the statements is left to the next look."""
    keyed = [((each.subscription, each.partition), each) for each in partitions]
    return tuple(
        PartitionRow(each, checkpoints[key], each.lag_events(facts.head), rates.get(key))
        for key, each in keyed
        if key in checkpoints
    )


def charts_of(points: list[Point], now: datetime, seconds: float) -> tuple[Chart, ...]:
    """Return the charts of one subscription: how far behind, and how fast."""
    longest_gap = 3.5 * max(history.SAMPLE_SECONDS, seconds / POINTS)
    ages = [(now - point.at).total_seconds() for point in points]
    series: dict[str, Sequence[float | None]] = {
        "Lag in events": [point.lag_events for point in points],
        "Lag in seconds": [point.lag_seconds for point in points],
        "Events per second": [point.rate for point in points],
    }
    return tuple(
        chart(title, list(zip(ages, values, strict=True)), seconds, longest_gap)
        for title, values in series.items()
    )


def _rebuilding(rows: tuple[PartitionRow, ...], now: datetime) -> Rebuilding | None:
    running = [row.checkpoint for row in rows if row.checkpoint.rebuild_target is not None]
    if all(row.position >= (row.rebuild_target or 0) for row in running):
        return None
    done = sum(min(row.position, row.rebuild_target or 0) for row in running)
    total = sum(row.rebuild_target or 0 for row in running)
    started_at = min((row.rebuild_started_at for row in running if row.rebuild_started_at), default=None)
    elapsed = (now - started_at).total_seconds() if started_at else 0.0
    seconds_left = elapsed * (total - done) / done if done and elapsed > 1 else None
    return Rebuilding(done, total, started_at, seconds_left)
