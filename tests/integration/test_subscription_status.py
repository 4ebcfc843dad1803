"""manage.py subscription_status shows what the rows say."""

import json
import time
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from eventsource_app.management.commands import subscription_status
from eventsource_app.models import Checkpoint, WorkerHeartbeat

pytestmark = pytest.mark.django_db


def status(*arguments: str) -> str:
    out = StringIO()
    call_command("subscription_status", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def two_subscriptions() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('eventsource_app_event_position_seq', 50, true)")
    WorkerHeartbeat.objects.create(worker_id="host-1", host="host", pid=1)
    Checkpoint.objects.create(
        subscription="orders",
        position=40,
        owner="host-1",
        lease_expires_at=timezone.now() + timedelta(seconds=10),
        events_processed=30,
        events_failed=2,
        breaker="open",
    )
    Checkpoint.objects.create(subscription="customers", position=50, owner="gone", state="paused")


def test_an_aligned_table(two_subscriptions: None) -> None:
    titles, customers, orders, workers = status().splitlines()
    assert titles.split() == [
        "subscription", "partition", "state", "owner", "position", "head", "lag", "lag_seconds", "processed", "failed",
        "dead_letters",
    ]  # fmt: skip
    assert customers.split() == ["customers", "0/1", "paused", "-", "50", "50", "0", "0.0", "0", "0", "0"]
    assert orders.split() == [
        "orders", "0/1", "running", "(breaker", "open)", "host-1", "40", "50", "10", "0.0", "30", "2", "0",
    ]  # fmt: skip
    # Numbers end where their title ends.
    for title in ("position", "head", "lag_seconds", "processed"):
        end = titles.index(title) + len(title)
        assert all(
            line[end - 1].isdigit() and line[end : end + 1] in ("", " ") for line in (customers, orders)
        )
    assert workers == "live workers: 1"


def test_json_for_machines(two_subscriptions: None) -> None:
    document = json.loads(status("--json"))
    assert (document["head"], document["live_workers"]) == (50, 1)
    customers, orders = document["subscriptions"]
    assert (customers["owner"], customers["state"]) == (None, "paused")
    assert (orders["position"], orders["lag"], orders["state"], orders["breaker"]) == (
        40,
        10,
        "running",
        "open",
    )


def test_nothing_has_run_yet() -> None:
    assert "manage.py run_subscriptions" in status()


def test_watch_shows_it_again_until_ctrl_c(two_subscriptions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", nap)
    shown = status("--watch")
    assert shown.count("dead_letters") == 3
    assert naps == [subscription_status.REFRESH_SECONDS] * 3
