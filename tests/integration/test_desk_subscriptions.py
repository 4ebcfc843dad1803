"""The subscriptions page tells how each partition is, and its verbs ask first, act once, and are kept with their reason."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from eventsource_app.admin.verbs import VERBS
from eventsource_app.models import Checkpoint, SubscriptionSample
from eventsource_app.store import EventStore
from orders.commands import PlaceOrder
from orders.services import place_order
from projections.models import OrderSummary
from tests.integration.desk import said, staff, text
from tests.integration.poisoned_orders import run_to_the_end

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "admin:eventsource_app_checkpoint_changelist"
VERB_PERMISSIONS = sorted({verb.permission for verb in VERBS.values()})


@pytest.fixture
def orders() -> Checkpoint:
    place_order(PlaceOrder("cust-1", Decimal(5)))
    run_to_the_end("orders")
    return Checkpoint.objects.get()


@pytest.fixture
def desk(client: Client) -> Client:
    return staff(client, "view_checkpoint", *VERB_PERMISSIONS)


def verb_page(slug: str, name: str = "orders") -> str:
    return reverse("admin:eventsource_app_checkpoint_verb", args=[slug, name])


def act(desk: Client, slug: str, **data: Any) -> Any:
    return desk.post(verb_page(slug), data, follow=True)


def test_the_page_shows_each_partition(desk: Client, orders: Checkpoint) -> None:
    page = text(desk.get(reverse(PAGE)))
    assert "no live owner of partition 0" in page.lower()
    assert "0 of 1" in page
    assert "customers is declared and has no checkpoint yet" in page
    assert "0 live workers" in page


def test_it_refreshes_itself_until_that_is_stopped(desk: Client, orders: Checkpoint) -> None:
    page = desk.get(reverse(PAGE))
    assert page["Refresh"] == "10"
    assert "<form" not in text(page).partition('id="content"')[2]  # a reload loses nothing half typed
    still = desk.get(reverse(PAGE), {"refresh": "off"})
    assert "Refresh" not in still
    assert not any("Refresh" in desk.get(verb_page(slug)) for slug in VERBS)


def test_lag_and_rate_are_drawn(desk: Client, orders: Checkpoint) -> None:
    SubscriptionSample.objects.all().delete()  # what the worker has written
    now = timezone.now()
    for tick in range(5):
        SubscriptionSample.objects.create(
            subscription="orders",
            partition=0,
            tick=tick,
            sampled_at=now - timedelta(seconds=30 * (5 - tick)),
            lag_events=tick,
            lag_seconds=0,
            events_processed=tick * 300,
            events_failed=0,
        )
    page = desk.get(reverse(PAGE))
    lag, _seconds, rate = page.context["overview"].cards[0].charts
    assert (lag.peak, len(lag.lines)) == (4, 1)
    assert rate.peak == pytest.approx(10, rel=0.01)
    assert lag.lines[0] in text(page)
    assert "style=" not in text(page).partition('id="content"')[2]


def test_the_number_of_statements_does_not_grow_with_subscriptions(
    desk: Client, orders: Checkpoint, django_assert_max_num_queries: Any
) -> None:
    for name in "abcdefgh":
        for partition in range(4):
            Checkpoint.objects.create(subscription=name, partition=partition, partition_count=4)
    with django_assert_max_num_queries(10):
        assert desk.get(reverse(PAGE)).status_code == 200


def test_the_progress_of_a_rebuild_is_shown(desk: Client, orders: Checkpoint) -> None:
    Checkpoint.objects.update(
        position=25, rebuild_target=100, rebuild_started_at=timezone.now() - timedelta(minutes=1)
    )
    page = text(desk.get(reverse(PAGE)))
    assert "25 %, 25 of 100 positions, about 3 min left" in page
    assert '<progress id="rebuild-1" value="25" max="100">' in page


def test_the_progress_is_a_number_where_the_site_writes_numbers_with_separators(
    desk: Client, orders: Checkpoint, settings: Settings
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    Checkpoint.objects.update(position=1_000, rebuild_target=4_000, rebuild_started_at=timezone.now())
    assert '<progress id="rebuild-1" value="1000" max="4000">' in text(desk.get(reverse(PAGE)))


def test_pause_and_resume_say_and_keep_what_they_did(desk: Client, orders: Checkpoint) -> None:
    assert said(act(desk, "pause", reason="a migration")) == [
        "success: orders was running and is paused now."
    ]
    orders.refresh_from_db()
    assert (orders.state, orders.state_changed_by, orders.state_reason) == ("paused", "ada", "a migration")
    assert "Paused by ada" in text(desk.get(reverse(PAGE)))
    assert said(act(desk, "pause")) == ["success: orders is paused already."]
    assert said(act(desk, "resume")) == ["success: orders was paused and is running now."]
    entries = LogEntry.objects.order_by("pk")
    assert [(entry.user.get_username(), entry.object_repr) for entry in entries] == [("ada", "orders")] * 3
    assert entries[0].get_change_message().endswith("Reason: a migration")


def test_a_rebuild_wants_the_name_typed_and_a_reason(desk: Client, orders: Checkpoint) -> None:
    for data in ({}, {"name": "orders"}, {"name": "customers", "reason": "why not"}):
        assert "errorlist" in text(act(desk, "rebuild", **data))
    assert OrderSummary.objects.count() == 1
    assert not LogEntry.objects.exists()

    told = said(act(desk, "rebuild", name="orders", reason="a new column"))

    assert "orders is empty and being rebuilt from position 0" in told[0]
    assert "No worker that could replay the log is alive" in told[0]
    assert not OrderSummary.objects.exists()
    run_to_the_end("orders")
    assert OrderSummary.objects.count() == 1
    assert "a new column" in LogEntry.objects.get().get_change_message()


def test_partitions_are_changed(desk: Client, orders: Checkpoint) -> None:
    assert "errorlist" in text(act(desk, "partitions", to="3", reason="more"))
    told = said(act(desk, "partitions", to="4", reason="more"))
    assert told[0].startswith("success: orders had 1 partitions and has 4 now")
    assert Checkpoint.objects.count() == 4
    assert LogEntry.objects.get().get_edited_object() in Checkpoint.objects.all()


def test_a_reset_is_refused_when_the_position_has_moved_since_the_page(
    desk: Client, orders: Checkpoint
) -> None:
    seen = desk.get(verb_page("reset")).context["form"]["seen"].value()
    assert seen == str(orders.position)
    place_order(PlaceOrder("cust-1", Decimal(5)))
    run_to_the_end("orders")

    told = said(act(desk, "reset", to="0", name="orders", reason="restored", seen=seen))

    assert told[0].startswith("error: The checkpoint of orders has moved")
    orders.refresh_from_db()
    assert orders.position > 0
    assert not LogEntry.objects.exists()


def test_a_reset_is_refused_while_a_worker_owns_it(desk: Client, orders: Checkpoint) -> None:
    Checkpoint.objects.update(owner="w-1", lease_expires_at=timezone.now() + timedelta(minutes=1))
    told = said(act(desk, "reset", to="0", name="orders", reason="restored", seen=str(orders.position)))
    assert told[0].startswith("error: A worker owns orders (w-1)")


def test_a_reset_puts_the_checkpoint_there(desk: Client, orders: Checkpoint) -> None:
    head = EventStore().head_position()
    beyond = said(
        act(desk, "reset", to=str(head + 9), name="orders", reason="restored", seen=str(orders.position))
    )
    assert "can be read from 0 to" in beyond[0]
    told = said(act(desk, "reset", to="1", name="orders", reason="restored", seen=str(orders.position)))
    assert told[0].startswith(f"success: The checkpoint of orders was at {orders.position} and is at 1 now")
    orders.refresh_from_db()
    assert orders.position == 1
    assert "restored" in LogEntry.objects.get().get_change_message()


@pytest.mark.parametrize("slug", sorted(VERBS))
def test_each_verb_has_its_own_permission(client: Client, orders: Checkpoint, slug: str) -> None:
    others = [name for name in VERB_PERMISSIONS if name != VERBS[slug].permission]
    desk = staff(client, "view_checkpoint", *others)
    before = list(Checkpoint.objects.values())
    assert desk.get(verb_page(slug)).status_code == 403
    assert act(desk, slug, name="orders", to="1", reason="x", seen="0").status_code == 403
    assert list(Checkpoint.objects.values()) == before
    assert verb_page(slug) not in text(desk.get(reverse(PAGE)))
    User.objects.get().user_permissions.clear()
    assert desk.get(reverse(PAGE)).status_code == 403


def test_what_does_not_exist_is_not_found(desk: Client, orders: Checkpoint) -> None:
    assert desk.get(verb_page("pause", "nobody")).status_code == 404
    assert desk.get(verb_page("explode")).status_code == 404


def test_a_form_from_elsewhere_is_refused(orders: Checkpoint) -> None:
    strict = staff(Client(enforce_csrf_checks=True), "view_checkpoint", "pause_checkpoint")
    assert strict.post(verb_page("pause")).status_code == 403
    orders.refresh_from_db()
    assert orders.state == "running"
