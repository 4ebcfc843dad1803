"""The desk shows everything and changes nothing."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from eventsource_app.admin import readonly
from eventsource_app.models import Checkpoint, DeadLetter, Event, Snapshot, WorkerHeartbeat

pytestmark = pytest.mark.django_db

AGGREGATE = UUID("0190a000-0000-7000-8000-000000000001")


@pytest.fixture
def desk(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def rows() -> dict[str, Any]:
    return {
        "event": event(2, aggregate_id=AGGREGATE, data={"note": "<script>alert(1)</script>"}),
        "checkpoint": Checkpoint.objects.create(subscription="orders"),
        "deadletter": DeadLetter.objects.create(
            subscription="orders",
            position=2,
            event_id=uuid4(),
            event_type="A",
            aggregate_type="B",
            aggregate_id=AGGREGATE,
            slot=0,
            error_type="ValueError",
            error_message="no",
            traceback="Traceback <module>",
            category="application",
            severity="medium",
        ),
        "snapshot": Snapshot.objects.create(
            aggregate_type="B",
            aggregate_id=AGGREGATE,
            version=1,
            state='{"a":1}',
            event_id=uuid4(),
            position=2,
        ),
        "workerheartbeat": WorkerHeartbeat.objects.create(worker_id="host-1", host="host", pid=1),
    }


def event(position: int, **values: Any) -> Event:
    defaults: dict[str, Any] = {
        "event_id": uuid4(),
        "event_type": "A",
        "aggregate_type": "B",
        "aggregate_id": uuid4(),
        "aggregate_version": 1,
        "slot": 0,
        "occurred_at": timezone.now(),
        "data": {},
    }
    return Event.objects.create(position=position, **{**defaults, **values})


NAMES = ("event", "checkpoint", "deadletter", "snapshot", "workerheartbeat")


@pytest.mark.parametrize("name", NAMES)
def test_everything_can_be_seen(desk: Client, rows: dict[str, Any], name: str) -> None:
    assert desk.get(reverse(f"admin:eventsource_app_{name}_changelist")).status_code == 200
    page = desk.get(reverse(f"admin:eventsource_app_{name}_change", args=[rows[name].pk]))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content


@pytest.mark.parametrize("name", NAMES)
def test_nothing_can_be_changed_even_by_a_superuser(desk: Client, rows: dict[str, Any], name: str) -> None:
    prefix = f"admin:eventsource_app_{name}"
    place = [rows[name].pk]
    model = type(rows[name])
    before = list(model.objects.values())
    assert desk.get(reverse(f"{prefix}_add")).status_code == 403
    assert desk.post(reverse(f"{prefix}_add"), {}).status_code == 403
    assert desk.post(reverse(f"{prefix}_change", args=place), {"state": "stopped"}).status_code == 403
    assert desk.post(reverse(f"{prefix}_delete", args=place), {"post": "yes"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": [str(rows[name].pk)], "post": "yes"}
    desk.post(reverse(f"{prefix}_changelist"), action)
    assert list(model.objects.values()) == before


def test_payloads_are_pretty_and_escaped(desk: Client, rows: dict[str, Any]) -> None:
    page = desk.get(reverse("admin:eventsource_app_event_change", args=[2])).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    letter = desk.get(reverse("admin:eventsource_app_deadletter_change", args=[rows["deadletter"].pk]))
    assert "Traceback &lt;module&gt;" in letter.content.decode()


@pytest.mark.parametrize(("estimate", "shown"), [(-1, 4), (0, 4), (1_000, 1_000)])
def test_a_long_list_is_at_least_what_was_counted(
    monkeypatch: pytest.MonkeyPatch, estimate: int, shown: int
) -> None:
    monkeypatch.setattr(readonly, "COUNTED_ROWS", 3)
    for position in range(2, 8):
        event(position)
    monkeypatch.setattr(readonly, "estimated_rows", lambda _: estimate)
    assert readonly.BigTablePaginator(Event.objects.order_by("-position"), 2).count == shown
    assert readonly.BigTablePaginator(Event.objects.filter(event_type="A").order_by("pk"), 2).count == 3
    assert readonly.BigTablePaginator(Event.objects.filter(position__lt=4).order_by("pk"), 2).count == 2


def test_the_estimate_asks_the_planner() -> None:
    event(2)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE eventsource_app_event")
    assert readonly.estimated_rows(Event.objects.all()) == 1


def test_every_model_of_the_engine_has_a_desk() -> None:
    for model in (Event, Checkpoint, DeadLetter, Snapshot, WorkerHeartbeat):
        assert isinstance(admin.site.get_model_admin(model), readonly.ReadOnlyAdmin)
