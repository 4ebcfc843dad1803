"""/health, /health/ready and /health/live say what the database's rows say."""

import logging
import socket
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections
from django.db.models import F
from django.test import Client
from django.utils import timezone

from eventsource_app.models import Checkpoint, DeadLetter, Event, SubscriptionSample, WorkerHeartbeat
from eventsource_app.subscriptions.health import (
    SubscriptionHealth,
    health_report,
    readiness,
    readiness_report,
)

pytestmark = pytest.mark.django_db


def set_head(position: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('eventsource_app_event_position_seq', %s, true)", [position])


@pytest.fixture(autouse=True)
def _head_at_1() -> None:
    # A sequence is not rolled back, so a test that moved it would be seen by the next.
    set_head(1)


def store_event(position: int, seconds_ago: float = 0, event_type: str = "SomethingElse") -> None:
    aggregate_id = uuid4()
    Event.objects.create(
        position=position,
        event_id=uuid4(),
        event_type=event_type,
        aggregate_type="Account",
        aggregate_id=aggregate_id,
        aggregate_version=1,
        slot=0,
        occurred_at=timezone.now(),
        recorded_at=timezone.now() - timedelta(seconds=seconds_ago),
        data={},
    )


def worker(name: str = "host-1", seconds_ago: float = 0, **values: Any) -> WorkerHeartbeat:
    beat = WorkerHeartbeat.objects.create(worker_id=name, host="host", pid=1, **values)
    WorkerHeartbeat.objects.filter(pk=beat.pk).update(beat_at=F("beat_at") - timedelta(seconds=seconds_ago))
    return beat


def checkpoint(name: str = "orders", lease_seconds: float = 10, **values: Any) -> Checkpoint:
    defaults = {
        "owner": "host-1",
        "lease_expires_at": timezone.now() + timedelta(seconds=lease_seconds),
        "started_at": timezone.now(),
    }
    return Checkpoint.objects.create(subscription=name, **{**defaults, **values})


def letter(position: int, state: str = "dead", slot: int = 0, subscription: str = "orders") -> None:
    DeadLetter.objects.create(
        subscription=subscription,
        position=position,
        event_id=uuid4(),
        event_type="Broken",
        aggregate_type="Account",
        aggregate_id=uuid4(),
        slot=slot,
        state=state,
        error_type="ValueError",
        error_message="no",
        category="application",
        severity="medium",
    )


def test_an_idle_system_is_healthy(client: Client) -> None:
    worker()
    checkpoint(position=0)
    response = client.get("/health")
    document = response.json()
    assert response.status_code == 200, document
    assert (document["status"], document["running"], document["total_lag_events"]) == ("healthy", True, 0)
    assert document["subscriptions"][0]["lag_seconds"] == 0


def test_without_any_row_the_manager_is_not_initialized(client: Client) -> None:
    response = client.get("/health")
    assert response.status_code == 503
    document = response.json()
    assert (document["status"], document["reason"]) == ("unhealthy", "manager not initialized")
    assert document["subscriptions"] == []


@pytest.mark.parametrize(
    ("beat", "phase", "running"),
    [(29, "running", True), (31, "running", False), (0, "stopped", False), (0, "draining", True)],
)
def test_a_worker_is_live_while_its_heart_beats(beat: float, phase: str, running: bool) -> None:
    worker(seconds_ago=beat, phase=phase)
    assert health_report().running is running


def test_lag_is_the_distance_to_the_head_and_the_age_of_the_oldest_undelivered_event() -> None:
    worker()
    checkpoint(position=10)
    for position, age in ((9, 500), (12, 90), (13, 40)):
        store_event(position, age)
    set_head(20)
    (orders,) = health_report().subscriptions
    assert orders.lag_events == 10
    assert orders.lag_seconds == pytest.approx(90, abs=5)


def test_a_lease_that_is_over_has_no_live_owner() -> None:
    worker("somebody-else")
    checkpoint(lease_seconds=-1)
    report = health_report()
    assert (report.status, report.subscriptions[0].reasons) == (
        "unhealthy",
        ("no live owner of partition 0",),
    )


def test_an_owner_whose_heart_beats_is_live_though_a_long_batch_outlasts_the_lease() -> None:
    worker("host-1")
    checkpoint(lease_seconds=-1)
    assert health_report().status == "healthy"


def test_a_released_lease_has_no_owner() -> None:
    worker()
    checkpoint(owner=None, lease_expires_at=None)
    assert health_report().status == "unhealthy"


def test_open_dead_letters_count_once_over_the_partitions() -> None:
    worker()
    for partition in (0, 1):
        checkpoint(partition=partition, partition_count=2)
    for position, state in enumerate(("parked", "retrying", "dead", "resolved", "discarded"), start=1):
        letter(position, state, slot=position)
    letter(9, "dead", subscription="customers")
    (orders,) = health_report().subscriptions
    assert (orders.dead_letters, orders.partitions) == (3, 2)


def sample(events_failed: int, minutes_ago: float, partition: int = 0) -> None:
    SubscriptionSample.objects.create(
        subscription="orders",
        partition=partition,
        tick=int(minutes_ago * 2),
        sampled_at=timezone.now() - timedelta(minutes=minutes_ago),
        lag_events=0,
        lag_seconds=0,
        events_processed=0,
        events_failed=events_failed,
    )


def orders_health() -> SubscriptionHealth:
    (orders,) = health_report().subscriptions
    return orders


def test_errors_are_those_of_the_last_hour_so_what_has_healed_is_healthy() -> None:
    worker()
    checkpoint(events_failed=1_000)
    assert orders_health().status == "healthy", "nobody has looked for an hour, so nobody has failed"
    sample(600, minutes_ago=61)
    sample(940, minutes_ago=59)
    sample(980, minutes_ago=6)
    sample(990, minutes_ago=4)
    assert (orders_health().status, orders_health().error_rate) == ("degraded", 2.0)
    assert orders_health().reasons == ("60 errors in an hour reach 50",)
    SubscriptionSample.objects.filter(events_failed__lt=980).delete()
    assert orders_health().status == "healthy"


def test_errors_are_those_of_all_partitions_also_of_those_that_are_gone() -> None:
    worker()
    checkpoint(events_failed=210)  # one of two partitions has taken over the other's counters
    sample(100, minutes_ago=30)
    sample(60, minutes_ago=30, partition=1)
    assert orders_health().reasons == ("50 errors in an hour reach 50",)


def test_a_feed_is_frozen_when_events_wait_and_the_checkpoint_has_not_moved() -> None:
    worker()
    checkpoint(position=10, moved_at=timezone.now() - timedelta(seconds=90))
    set_head(20)
    assert orders_health().status == "healthy", "nothing waits: positions have gaps"
    store_event(20, seconds_ago=70)
    assert orders_health().status == "unhealthy"
    assert orders_health().reasons[0].startswith("frozen: partition 0 has stood at 10 for 7")


@pytest.mark.parametrize(
    "changes",
    [
        {"moved_at": timedelta(seconds=5)},
        {"state_changed_at": timedelta(seconds=5)},
        {"rebuild_started_at": timedelta(seconds=5)},
    ],
)
def test_a_feed_that_moved_or_was_let_go_a_moment_ago_is_not_frozen(changes: dict[str, timedelta]) -> None:
    worker()
    since: dict[str, Any] = {name: timezone.now() - age for name, age in changes.items()}
    checkpoint(position=10, **{"moved_at": timezone.now() - timedelta(hours=1), **since})
    set_head(20)
    store_event(20, seconds_ago=3600)
    assert orders_health().status == "healthy"


@pytest.mark.parametrize("held", [{"state": "paused"}, {"breaker": "open"}])
def test_what_is_held_on_purpose_is_not_frozen(held: dict[str, Any]) -> None:
    worker()
    checkpoint(position=10, moved_at=timezone.now() - timedelta(hours=1), **held)
    set_head(20)
    store_event(20, seconds_ago=3600)
    assert not any("frozen" in reason for reason in orders_health().reasons)


def test_thresholds_come_from_the_settings(settings: Any) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "HEALTH": {"max_lag_events_warning": 5}}
    worker()
    checkpoint(position=1)
    set_head(6)
    assert health_report().status == "degraded"


def test_health_costs_one_query(client: Client, django_assert_num_queries: Any) -> None:
    worker()
    checkpoint()
    checkpoint("customers")
    with django_assert_num_queries(1):
        assert client.get("/health").json()["subscription_count"] == 2


def test_ready_costs_two_queries_and_then_one(
    client: Client, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_migrated", set())
    with django_assert_num_queries(2):
        assert client.get("/health/ready").status_code == 200
    with django_assert_num_queries(1):
        assert client.get("/health/ready").status_code == 200


def test_ready_without_workers(client: Client) -> None:
    assert client.get("/health").status_code == 503
    assert client.get("/health/ready").json()["ready"] is True


def test_not_ready_while_a_migration_is_missing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_migrated", set())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'eventsource_app' AND name >= '0002'")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["details"]["migrations"][0] == "eventsource_app.0002_append_only_log"
    assert readiness_report().ready is False


def test_live_does_not_touch_the_database(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert client.get("/health/live").status_code == 200


@pytest.mark.django_db(transaction=True)
class TestOnConnectionsOfItsOwn:
    def test_probes_leave_no_connection_behind(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.CRITICAL, "health_check")
        before = _sessions()
        for _ in range(10):
            client.get("/health")
            client.get("/health/ready")
        # A closed session is listed until its server process has ended.
        deadline = time.monotonic() + 5
        while (after := _sessions()) > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert after <= before

    def test_probes_give_back_what_they_take_from_a_pool(
        self, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.CRITICAL, "health_check")
        default: Any = connections["default"]
        default.close()
        pool = {"min_size": 1, "max_size": 2, "timeout": 1}
        monkeypatch.setitem(default.settings_dict["OPTIONS"], "pool", pool)
        try:
            for _ in range(12):
                assert client.get("/health").json()["reason"] == "manager not initialized"
                assert client.get("/health/ready").status_code == 200
            assert default.pool.get_stats()["pool_size"] <= 2
        finally:
            default.close()
            default.close_pool()

    def test_a_probe_sees_what_was_committed(self, client: Client) -> None:
        worker()
        checkpoint(position=0)
        assert client.get("/health").json()["status"] == "healthy"

    def test_a_locked_table_is_a_sentence_within_two_seconds(
        self, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.CRITICAL, "health_check")
        locked, done = threading.Event(), threading.Event()
        thread = threading.Thread(target=_hold_lock, args=(locked, done))
        thread.start()
        try:
            assert locked.wait(5)
            began = time.monotonic()
            response = client.get("/health")
            took = time.monotonic() - began
        finally:
            done.set()
            thread.join()
        assert response.status_code == 503
        assert "does not answer" in response.json()["reason"] or "did not answer" in response.json()["reason"]
        assert took < 2
        assert client.get("/health").json()["reason"] == "manager not initialized"

    def test_the_short_timeout_ends_with_the_probe(self) -> None:
        health_report()
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone()[0] != "1500ms"

    def test_a_host_that_never_answers_is_a_sentence_within_two_seconds(
        self, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.CRITICAL, "health_check")
        with socket.create_server(("127.0.0.1", 0)) as black_hole:
            monkeypatch.setitem(connections["default"].settings_dict, "HOST", "127.0.0.1")
            monkeypatch.setitem(
                connections["default"].settings_dict, "PORT", str(black_hole.getsockname()[1])
            )
            began = time.monotonic()
            response = client.get("/health")
            took = time.monotonic() - began
        assert response.status_code == 503
        assert response.json()["reason"] == "the database did not answer within 1.6 seconds"
        assert took < 2

    def test_a_database_that_is_away_and_back(
        self, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.CRITICAL, "health_check")
        assert client.get("/health/ready").status_code == 200
        with monkeypatch.context() as away:
            away.setitem(connections["default"].settings_dict, "PORT", "1")
            away.setitem(connections["default"].settings_dict, "HOST", "127.0.0.1")
            assert client.get("/health").status_code == 503
            assert client.get("/health/ready").json()["ready"] is False
            assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200


def _sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def _hold_lock(locked: threading.Event, done: threading.Event) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE eventsource_app_checkpoint IN ACCESS EXCLUSIVE MODE")
            locked.set()
            done.wait(10)
            cursor.execute("ROLLBACK")
    finally:
        connection.close()
