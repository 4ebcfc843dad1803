"""An operator's day, in a real browser: something is stuck, it is found, understood, mended and tried again."""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from eventsource_app.admin import subscriptions
from eventsource_app.models import Checkpoint, DeadLetter, Event, SubscriptionSample
from eventsource_app.observability.correlation import caused_by, correlation
from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import (
    SubscriptionConfig,
    SubscriptionManager,
    declared_subscriptions,
    history,
)
from orders.commands import PlaceOrder, ShipOrder
from orders.services import place_order, ship_order
from projections.models import OrderSummary
from projections.order_summary import OrderSummaryProjection
from tests.browser.conftest import PHONE, SCREENS, Desk, Screen
from tests.integration.ledger import Gate
from tests.integration.poisoned_orders import PoisonedOrders, run_to_the_end

pytestmark = pytest.mark.django_db(transaction=True)
OpenDesk = Callable[[Screen], Desk]


@pytest.fixture(autouse=True)
def _no_automatic_retries(settings: Any) -> None:
    later = {"orders": {"initial_retry_delay": 3600, "max_retry_delay": 3600}}
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "SUBSCRIPTIONS": later}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> PoisonedOrders:
    """Three orders that cannot be handled, among others; one request that caused a second order."""
    poisoned = PoisonedOrders(monkeypatch, count=3)
    with correlation("req-7f3a"):
        first = place_order(PlaceOrder("ada", Decimal("499.99")))
        cause = Event.objects.order_by("-position").values_list("event_id", flat=True)[0]
        with caused_by(cause, "req-7f3a"):
            place_order(PlaceOrder("ada", Decimal("12.50")))
        ship_order(ShipOrder(first.order_id, "TRACK-1"))
    run_to_the_end("orders")
    run_to_the_end("customers")
    a_busy_afternoon()
    return poisoned


def a_busy_afternoon() -> None:
    """Fill the charts: three hours of made-up traffic."""
    chance = random.Random(7)
    SubscriptionSample.objects.all().delete()
    now, lag, processed, rows = timezone.now(), 0, 0, []
    for tick in range(360, 0, -1):
        lag = max(0, lag + chance.randint(-60, 55))
        processed += chance.randint(300, 900)
        rows += [
            SubscriptionSample(
                subscription=name,
                partition=0,
                tick=tick,
                sampled_at=now - timedelta(seconds=tick * history.SAMPLE_SECONDS),
                lag_events=lag,
                lag_seconds=lag / 40,
                events_processed=processed,
                events_failed=0,
            )
            for name in ("customers", "orders")
        ]
    SubscriptionSample.objects.bulk_create(rows)


@pytest.mark.parametrize("screen", SCREENS)
def test_a_poison_event_is_found_mended_and_retried(
    desk_at: OpenDesk, poisoned: PoisonedOrders, screen: Screen
) -> None:
    desk = desk_at(screen)
    page = desk.page
    desk.log_in()
    expect(page.get_by_text("3 open dead letters")).to_be_visible()
    desk.look("start")

    page.get_by_role("link", name="3 open dead letters").click()
    expect(page.get_by_role("heading", name="What fails")).to_be_visible()
    desk.look("dead-letters")

    order_id = poisoned.order_ids[0]
    letter = DeadLetter.objects.get(aggregate_id=order_id)
    page.get_by_role("link", name=f"OrderCreated at {letter.position}").click()
    expect(page.get_by_text("ValueError: no such customer")).to_be_visible()
    expect(page.get_by_role("row", name="OrderShipped")).to_be_visible()
    desk.look("dead-letter")

    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_text("failed again: no such customer").first).to_be_visible()
    poisoned.fix(order_id)
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_text("is resolved, 2 events handled").first).to_be_visible()
    expect(page.locator(".desk-lead .desk-badge")).to_have_text("resolved")
    assert poisoned.statuses == ["shipped"]
    desk.look("dead-letter-resolved")

    page.get_by_role("link", name=str(order_id)).click()
    expect(page.get_by_role("heading", name="State at version 2")).to_be_visible()
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", name="State at version 1")).to_be_visible()
    assert '"status": "created"' in desk.text()
    desk.look("time-line")

    poisoned.fix()
    desk.open(reverse("admin:eventsource_app_deadletter_changelist"))
    page.get_by_role("link", name="Retry all open letters that match").click()
    desk.look("retry-all")
    page.get_by_label("Reason").fill("fixed in release 1.2")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("2 resolved", exact=True)).to_be_visible()
    desk.look("results")
    assert poisoned.statuses == ["shipped"] * 3


@pytest.fixture
def slow_rebuild(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A worker of `orders` that handles one event at a time, and waits in the middle of the log."""
    with Gate() as gate:
        middle = Event.objects.order_by("position").values_list("position", flat=True)[
            Event.objects.count() // 2
        ]
        handle_batch = OrderSummaryProjection.handle_batch

        def gated(projection: OrderSummaryProjection, recorded: list[RecordedEvent]) -> None:
            if any(each.position == middle for each in recorded):
                connection.ensure_connection()
                gate()
            handle_batch(projection, recorded)

        monkeypatch.setattr(OrderSummaryProjection, "handle_batch", gated)
        yield gate


@pytest.mark.parametrize("screen", SCREENS)
def test_a_rebuild_is_begun_and_its_progress_followed(
    desk_at: OpenDesk,
    poisoned: PoisonedOrders,
    slow_rebuild: Gate,
    monkeypatch: pytest.MonkeyPatch,
    screen: Screen,
) -> None:
    monkeypatch.setattr(subscriptions, "REFRESH_SECONDS", 1)
    poisoned.fix()
    desk = desk_at(screen)
    page = desk.page
    desk.log_in()
    desk.open(f"{reverse('admin:eventsource_app_checkpoint_changelist')}?refresh=off")
    desk.look("subscriptions")

    page.get_by_role("link", name="Rebuild orders").click()
    page.get_by_label("Type the subscription’s name").fill("orders")
    page.get_by_label("Reason").fill("a new column")
    desk.look("rebuild")
    page.get_by_role("button", name="Rebuild").click()
    expect(page.get_by_text("orders is empty and being rebuilt")).to_be_visible()
    assert not OrderSummary.objects.exists()

    manager = SubscriptionManager()
    manager.subscribe(
        declared_subscriptions()["orders"].projection, SubscriptionConfig(batch_size=1), "orders"
    )
    manager.start()
    try:
        slow_rebuild.wait_until_reached()
        # The page finds out by itself: nothing here reloads it.
        expect(page.get_by_role("progressbar")).not_to_have_attribute("value", "0")
        monkeypatch.setattr(subscriptions, "REFRESH_SECONDS", 3600)  # hold still for the picture
        expect(page.get_by_text("This page refreshes every 3600 seconds")).to_be_visible()
        expect(page.get_by_text("Rebuilding: its answers are incomplete")).to_be_visible()
        desk.look("rebuilding")
        monkeypatch.setattr(subscriptions, "REFRESH_SECONDS", 1)
        page.reload()
        slow_rebuild.open()
        expect(page.get_by_role("progressbar")).to_have_count(0)
    finally:
        slow_rebuild.open()
        manager.stop()
    assert Checkpoint.objects.get(subscription="orders").position >= Event.objects.latest("position").position
    assert OrderSummary.objects.count() == 6


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_passes_for_those_who_see_differently(
    desk_at: OpenDesk, poisoned: PoisonedOrders, screen: Screen
) -> None:
    desk = desk_at(screen)
    desk.log_in()
    letter = DeadLetter.objects.order_by("pk")[0]
    checkpoint = Checkpoint.objects.get(subscription="orders")
    pages = {
        "events": reverse("admin:eventsource_app_event_changelist"),
        "event": reverse("admin:eventsource_app_event_change", args=[letter.position]),
        "search": f"{reverse('admin:eventsource_app_event_changelist')}?q={letter.aggregate_id}",
        "nothing-found": f"{reverse('admin:eventsource_app_event_changelist')}?q=nothing",
        "correlation": f"{reverse('admin:eventsource_app_event_correlation')}?id=req-7f3a",
        "partition": reverse("admin:eventsource_app_checkpoint_change", args=[checkpoint.pk]),
        "pause": reverse("admin:eventsource_app_checkpoint_verb", args=["pause", "orders"]),
        "partitions": reverse("admin:eventsource_app_checkpoint_verb", args=["partitions", "orders"]),
        "reset": reverse("admin:eventsource_app_checkpoint_verb", args=["reset", "orders"]),
        "discard": reverse("admin:eventsource_app_deadletter_verb", args=[letter.pk, "discard"]),
        "audit-trail": reverse("admin:admin_logentry_changelist"),
        "orders": reverse("admin:projections_ordersummary_changelist"),
        "customers": reverse("admin:projections_customersummary_changelist"),
        "snapshots": reverse("admin:eventsource_app_snapshot_changelist"),
        "workers": reverse("admin:eventsource_app_workerheartbeat_changelist"),
        "tokens": reverse("admin:eventsource_app_apitoken_changelist"),
    }
    for name, path in pages.items():
        desk.open(path)
        desk.look(name)


def test_the_keyboard_is_enough(desk_at: OpenDesk, poisoned: PoisonedOrders) -> None:
    poisoned.fix()
    desk = desk_at(PHONE)
    desk.log_in()
    letter = DeadLetter.objects.get(aggregate_id=poisoned.order_ids[0])
    desk.open(reverse("admin:eventsource_app_deadletter_change", args=[letter.pk]))
    reached = tab_through(desk.page)
    wanted = desk.page.locator("#content :is(a[href], summary, input:not([type=hidden]))").count()
    assert len([name for name, inside, _ in reached if inside]) >= wanted
    assert [name for name, inside, is_seen in reached if inside and not is_seen] == []

    desk.page.get_by_role("button", name="Retry", exact=True).focus()
    desk.page.keyboard.press("Enter")
    expect(desk.page.get_by_text("is resolved, 2 events handled").first).to_be_visible()


def tab_through(page: Page) -> list[tuple[str, bool, bool]]:
    """Press Tab until it comes round; return what got the focus, whether in the content, and whether that is seen."""
    found: list[tuple[str, bool, bool]] = []
    for _ in range(200):
        page.keyboard.press("Tab")
        name, inside, is_seen = page.evaluate("""() => {
            const it = document.activeElement, style = getComputedStyle(it);
            return [it.outerHTML.slice(0, 120), !!it.closest('#content'),
                    style.outlineStyle !== 'none' || style.textDecorationLine !== 'none']}""")
        if name.startswith("<body") or (found and (name, inside, is_seen) == found[0]):
            break
        found.append((name, inside, is_seen))
    return found


def test_who_may_only_look_is_offered_nothing_to_press(desk_at: OpenDesk, poisoned: PoisonedOrders) -> None:
    desk = desk_at(PHONE)
    desk.log_in()
    user = User.objects.get(username="ada")
    user.is_superuser = False
    user.save()
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_checkpoint", "view_deadletter", "view_event"])
    )
    letter = DeadLetter.objects.order_by("pk").values_list("pk", flat=True)[0]
    for path in (
        reverse("admin:eventsource_app_deadletter_change", args=[letter]),
        f"{reverse('admin:eventsource_app_checkpoint_changelist')}?refresh=off",
    ):
        desk.open(path)
        assert desk.page.locator("#content :is(input[type=submit], a.button)").count() == 0
