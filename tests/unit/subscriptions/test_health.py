"""The rules of health, on rows made by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventsource_app.subscriptions.config import HealthCheckConfig
from eventsource_app.subscriptions.health import (
    HealthFacts,
    HealthReport,
    LivenessReport,
    PartitionFacts,
    ReadinessReport,
    assess,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CONFIG = HealthCheckConfig()
WELL = PartitionFacts(
    subscription="orders",
    partition=0,
    partition_count=1,
    position=1000,
    state="running",
    breaker="closed",
    owner="host-1",
    owner_is_live=True,
    epoch=1,
    events_processed=900,
    events_failed=0,
    retry_count=0,
    batch_count=12,
    last_error="",
    last_error_at=None,
    started_at=NOW - timedelta(hours=2),
    lag_seconds=0.0,
    frozen_seconds=0.0,
    parked=0,
    retrying=0,
    dead=0,
    failed_in_last_hour=0,
    failed_in_last_minutes=0,
)


def row(**changes: Any) -> PartitionFacts:
    return replace(WELL, **changes)


def facts(*rows: PartitionFacts, head: int = 1000, live_workers: int = 1, **fence: Any) -> HealthFacts:
    started = NOW - timedelta(minutes=5) if live_workers else None
    return HealthFacts(NOW, head, live_workers, started, partitions=rows, **fence)


def status_of(*rows: PartitionFacts, head: int = 1000) -> str:
    (subscription,) = assess(facts(*rows, head=head), CONFIG).subscriptions
    return subscription.status


def test_all_well() -> None:
    report = assess(facts(row()), CONFIG)
    assert report.to_dict() == {
        "status": "healthy",
        "running": True,
        "subscription_count": 1,
        "healthy_count": 1,
        "degraded_count": 0,
        "unhealthy_count": 0,
        "total_events_processed": 900,
        "total_events_failed": 0,
        "total_lag_events": 0,
        "uptime_seconds": 300.0,
        "timestamp": "2026-11-23T12:00:00Z",
        "subscriptions": [
            {
                "name": "orders",
                "status": "healthy",
                "state": "running",
                "events_processed": 900,
                "events_failed": 0,
                "lag_events": 0,
                "lag_seconds": 0.0,
                "error_rate": 0.0,
                "last_error": None,
                "uptime_seconds": 7200.0,
                "partitions": 1,
                "dead_letters": 0,
                "reasons": [],
            }
        ],
    }
    assert report.http_status == 200


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "paused"}, "degraded"),
        ({"state": "rebuilding"}, "degraded"),
        ({"state": "stopped"}, "unhealthy"),
        ({"breaker": "open"}, "unhealthy"),
        ({"breaker": "half_open"}, "degraded"),
        ({"owner_is_live": False}, "unhealthy"),
        ({"owner_is_live": False, "state": "paused"}, "unhealthy"),
        ({"dead": 9}, "healthy"),
        ({"dead": 4, "parked": 5, "retrying": 1}, "degraded"),
        ({"parked": 99}, "degraded"),
        ({"dead": 99, "retrying": 1}, "critical"),
        ({"failed_in_last_hour": 49}, "healthy"),
        ({"failed_in_last_hour": 50}, "degraded"),
        ({"failed_in_last_hour": 200}, "critical"),
        ({"failed_in_last_minutes": 49}, "healthy"),
        ({"failed_in_last_minutes": 50}, "degraded"),
        ({"events_failed": 5_000, "last_error_at": NOW}, "healthy"),
        ({"dead": 100, "breaker": "open"}, "critical"),
        ({"frozen_seconds": 59.9, "lag_seconds": 500.0}, "healthy"),
        ({"frozen_seconds": 60.0}, "unhealthy"),
        ({"position": 1001}, "unhealthy"),
        ({"partition_count": 2}, "unhealthy"),
    ],
)
def test_a_subscription_is_as_well_as_its_worst_finding(changes: dict[str, Any], expected: str) -> None:
    assert status_of(row(**changes)) == expected


@pytest.mark.parametrize(
    ("lag", "expected"), [(4_999, "healthy"), (5_000, "degraded"), (49_999, "degraded"), (50_000, "critical")]
)
def test_lag_changes_colour_when_it_reaches_a_threshold(lag: int, expected: str) -> None:
    assert status_of(row(), head=1000 + lag) == expected


def test_an_empty_log_has_no_lag_although_its_head_is_1() -> None:
    report = assess(facts(row(position=0), head=1), CONFIG)
    assert report.total_lag_events == 0
    assert report.status == "healthy"


def test_a_new_subscription_is_behind_by_every_position_that_an_event_can_have() -> None:
    assert assess(facts(row(position=0), head=11), CONFIG).total_lag_events == 10


def test_partitions_are_one_subscription_with_the_worst_lag_and_the_sum_of_counters() -> None:
    rows = (
        row(partition_count=2, position=400, lag_seconds=7.5, parked=1, events_failed=2),
        row(partition=1, partition_count=2, position=900, lag_seconds=1.0, dead=3, state="paused"),
    )
    report = assess(facts(*rows, row(subscription="customers", position=990)), CONFIG)
    orders, customers = report.subscriptions
    assert (orders.lag_events, orders.lag_seconds, orders.partitions) == (600, 7.5, 2)
    assert (orders.events_processed, orders.events_failed, orders.dead_letters) == (1800, 2, 4)
    assert orders.state == "paused"
    assert customers.lag_events == 10
    assert report.total_lag_events == 610


def test_the_engine_is_as_well_as_its_worst_subscription_and_the_counts_add_up() -> None:
    rows = (
        row(subscription="a"),
        row(subscription="b", state="paused"),
        row(subscription="c", breaker="open"),
        row(subscription="d", dead=100),
    )
    for amount, expected in enumerate(("healthy", "degraded", "unhealthy", "critical"), start=1):
        assert assess(facts(*rows[:amount]), CONFIG).status == expected
    report = assess(facts(*rows), CONFIG)
    assert (report.healthy_count, report.degraded_count, report.unhealthy_count) == (1, 1, 2)
    assert report.subscription_count == 4
    assert report.http_status == 503


def test_without_a_live_worker_the_document_says_why() -> None:
    report = assess(facts(row(), live_workers=0), CONFIG)
    document = report.to_dict()
    assert (document["status"], document["reason"], document["running"]) == (
        "unhealthy",
        "manager not initialized",
        False,
    )
    assert document["subscription_count"] == 1
    assert report.http_status == 503


def test_errors_are_counted_over_the_hour_and_their_rate_over_its_last_minutes() -> None:
    (orders,) = assess(facts(row(failed_in_last_hour=40, failed_in_last_minutes=15)), CONFIG).subscriptions
    assert (orders.error_rate, orders.status) == (3.0, "healthy")


def test_the_hours_failures_are_the_whole_subscriptions_and_count_once() -> None:
    rows = [row(partition=n, partition_count=2, failed_in_last_hour=49) for n in range(2)]
    assert status_of(*rows) == "healthy"


def test_a_frozen_feed_says_where_it_stands_and_who_holds_it_back() -> None:
    sick = row(position=990, frozen_seconds=75.0)
    (orders,) = assess(facts(sick), CONFIG).subscriptions
    assert orders.reasons == ("frozen: partition 0 has stood at 990 for 75 seconds",)
    held = facts(sick, fence_age_seconds=80.4, fence_pid=4711)
    (orders,) = assess(held, CONFIG).subscriptions
    assert orders.reasons[0].endswith(
        "; the transaction of server process 4711 has appended and been open for 80 seconds"
    )


def test_the_latest_error_of_all_partitions_is_shown() -> None:
    older = row(partition_count=2, last_error="old", last_error_at=NOW - timedelta(minutes=2))
    newer = row(partition=1, partition_count=2, last_error="new", last_error_at=NOW)
    (subscription,) = assess(facts(newer, older), CONFIG).subscriptions
    assert subscription.last_error == "new"


def test_a_threshold_of_zero_does_not_complain_about_nothing() -> None:
    strict = HealthCheckConfig(
        max_error_rate_per_minute=0,
        max_errors_warning=0,
        max_lag_events_warning=0,
        max_dead_letters_warning=0,
        max_frozen_seconds=0,
    )
    assert assess(facts(row()), strict).status == "healthy"
    assert assess(facts(row(position=999)), strict).status == "degraded"


def test_unavailable_says_why_and_nothing_else() -> None:
    report = HealthReport.unavailable("the database does not answer")
    assert report.http_status == 503
    assert report.to_dict()["reason"] == "the database does not answer"


def test_readiness_and_liveness_have_the_documents_of_the_contract() -> None:
    ready = ReadinessReport(ready=True, reason="ok", timestamp=NOW)
    assert ready.to_dict() == {
        "ready": True,
        "reason": "ok",
        "details": {},
        "timestamp": "2026-11-23T12:00:00Z",
    }
    assert ready.http_status == 200
    assert LivenessReport(alive=True, timestamp=NOW).model_dump_json() == (
        '{"alive":true,"timestamp":"2026-11-23T12:00:00Z"}'
    )
    assert LivenessReport(alive=False, reason="not started").to_dict()["reason"] == "not started"
