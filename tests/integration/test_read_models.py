"""The read models equal an independent fold of the log, however the feed is cut into batches."""

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from eventsource_app.events import DomainEvent
from eventsource_app.store import EventStore, RecordedEvent
from eventsource_app.subscriptions import Projection
from orders.commands import CancelOrder, DeliverOrder, PlaceOrder, ShipOrder
from orders.services import cancel_order, deliver_order, place_order, ship_order
from projections.customer_summary import CustomerSummaryProjection
from projections.exceptions import MissingOrderError
from projections.models import CustomerOrder, CustomerSummary, OrderSummary
from projections.order_summary import OrderSummaryProjection

pytestmark = pytest.mark.django_db


def a_busy_day(seed: int, orders: int = 40) -> list[RecordedEvent]:
    """Interleave the lives of some orders of a few customers; return the log."""
    chance = random.Random(seed)
    open_orders: list[Iterator[None]] = []
    for _ in range(orders):
        open_orders.append(a_life(chance))
        while chance.random() < 0.6 and open_orders:
            life = chance.choice(open_orders)
            if next(life, "over") == "over":
                open_orders.remove(life)
    for life in open_orders:
        for _ in life:
            pass
    return EventStore().read_all(limit=10_000)


def a_life(chance: random.Random) -> Iterator[None]:
    total = Decimal(chance.randrange(1, 100_000)) / 100
    order_id = place_order(PlaceOrder(f"cust-{chance.randrange(5)}", total)).order_id
    yield
    if chance.random() < 0.4:
        cancel_order(CancelOrder(order_id, "changed my mind"))
        return
    ship_order(ShipOrder(order_id, f"T-{chance.randrange(1000)}"))
    yield
    if chance.random() < 0.5:
        deliver_order(DeliverOrder(order_id))


def follow(projection: Any, log: list[RecordedEvent], sizes: Iterator[int]) -> None:
    handled = {event_class.__name__ for event_class in projection.handled_events}
    feed = [each for each in log if each.event_type in handled]
    while feed:
        size = next(sizes)
        projection.handle_batch(feed[:size])
        feed = feed[size:]


def same_size(size: int) -> Iterator[int]:
    while True:
        yield size


def random_sizes(seed: int) -> Iterator[int]:
    chance = random.Random(seed)
    while True:
        yield chance.randrange(1, 12)


def folded_orders(log: list[RecordedEvent]) -> dict[UUID, tuple[object, ...]]:
    """Fold the log without any of our own state classes."""
    rows: dict[UUID, dict[str, Any]] = {}
    statuses = {
        "OrderCreated": "created",
        "OrderShipped": "shipped",
        "OrderDelivered": "delivered",
        "OrderCancelled": "cancelled",
    }
    for each in log:
        row = rows.setdefault(each.aggregate_id, {})
        row.update(each.event.model_dump(exclude=set(DomainEvent.model_fields)))
        row["status"], row["version"], row["position"] = (
            statuses[each.event_type],
            each.aggregate_version,
            each.position,
        )
    return {
        key: (
            r["customer_id"],
            r["total"],
            r["status"],
            r.get("tracking_number"),
            r["version"],
            r["position"],
        )
        for key, r in rows.items()
    }


def stored_orders() -> dict[UUID, tuple[object, ...]]:
    return {
        row.order_id: (row.customer_id, row.total, row.status, row.tracking_number, row.version, row.position)
        for row in OrderSummary.objects.all()
    }


def folded_customers(log: list[RecordedEvent]) -> dict[str, tuple[int, Decimal]]:
    sums: dict[str, tuple[int, Decimal]] = {}
    for customer_id, total, status, *_ in folded_orders(log).values():
        count, spent = sums.get(str(customer_id), (0, Decimal(0)))
        counts = status != "cancelled"
        sums[str(customer_id)] = (count + counts, spent + (Decimal(str(total)) if counts else 0))
    return sums


def stored_customers() -> dict[str, tuple[int, Decimal]]:
    return {row.customer_id: (row.order_count, row.total_spent) for row in CustomerSummary.objects.all()}


SLICINGS = [
    pytest.param(lambda: same_size(1), id="one by one"),
    pytest.param(lambda: same_size(2), id="pairs"),
    pytest.param(lambda: random_sizes(7), id="random"),
    pytest.param(lambda: random_sizes(8), id="random again"),
    pytest.param(lambda: same_size(10_000), id="all at once"),
]


@pytest.mark.parametrize("sizes", SLICINGS)
def test_orders_equal_a_fold_of_the_log(sizes: Any) -> None:
    log = a_busy_day(seed=1)
    follow(OrderSummaryProjection(), log, sizes())
    assert stored_orders() == folded_orders(log)


@pytest.mark.parametrize("sizes", SLICINGS)
def test_customers_equal_a_fold_of_the_log(sizes: Any) -> None:
    log = a_busy_day(seed=2)
    assert any(each.event_type == "OrderCancelled" for each in log)
    follow(CustomerSummaryProjection(), log, sizes())
    assert stored_customers() == folded_customers(log)


def test_a_customer_whose_only_order_is_cancelled_is_known_either_way() -> None:
    for customer in ("one-batch", "two-batches"):
        cancel_order(CancelOrder(place_order(PlaceOrder(customer, 5)).order_id, "r"))
    log = EventStore().read_all()
    CustomerSummaryProjection().handle_batch(log[:2])
    CustomerSummaryProjection().handle_batch(log[2:3])
    CustomerSummaryProjection().handle_batch(log[3:])
    assert stored_customers() == {"one-batch": (0, Decimal(0)), "two-batches": (0, Decimal(0))}


@pytest.mark.parametrize(
    ("projection", "most"), [(OrderSummaryProjection(), 2), (CustomerSummaryProjection(), 6)]
)
def test_a_batch_costs_a_few_statements_whatever_its_size(
    projection: Any, most: int, django_assert_max_num_queries: Any
) -> None:
    log = a_busy_day(seed=3)
    half = len(log) // 2
    follow(projection, log[:half], same_size(10_000))
    with django_assert_max_num_queries(most):
        follow(projection, log[half:], same_size(10_000))


@pytest.mark.parametrize("projection", [OrderSummaryProjection(), CustomerSummaryProjection()])
def test_a_rebuild_gives_the_same_rows_again(projection: Any) -> None:
    log = a_busy_day(seed=4)
    follow(projection, log, same_size(3))
    before = (stored_orders(), stored_customers())
    projection.reset()
    assert (stored_orders(), stored_customers(), CustomerOrder.objects.count()) == ({}, {}, 0)
    follow(projection, log, same_size(5))
    assert (stored_orders(), stored_customers()) == before


@pytest.mark.parametrize("projection", [OrderSummaryProjection(), CustomerSummaryProjection()])
def test_an_event_of_an_order_never_seen_is_not_passed_over(projection: Any) -> None:
    receipt = place_order(PlaceOrder("c", 5))
    cancelled = cancel_order(CancelOrder(receipt.order_id, "r"))
    with pytest.raises(MissingOrderError, match=str(receipt.order_id)) as missing:
        projection.handle_batch(EventStore().read_all(after=receipt.position))
    assert missing.value.position == cancelled.position


def test_the_projections_declare_what_they_handle() -> None:
    assert OrderSummaryProjection.event_types() == (
        "OrderCancelled",
        "OrderCreated",
        "OrderDelivered",
        "OrderShipped",
    )
    assert CustomerSummaryProjection.event_types() == ("OrderCancelled", "OrderCreated")
    assert issubclass(OrderSummaryProjection, Projection)


@pytest.mark.parametrize("model", [OrderSummary, CustomerSummary])
def test_nobody_changes_a_read_model_in_the_admin(model: Any) -> None:
    request = RequestFactory().get("/admin/")
    request.user = User(is_superuser=True, is_active=True, is_staff=True)
    model_admin = admin.site.get_model_admin(model)
    assert model_admin.has_view_permission(request)
    assert not model_admin.has_add_permission(request)
    assert not model_admin.has_change_permission(request)
    assert not model_admin.has_delete_permission(request)


def test_the_admin_shows_the_read_models(admin_client: Client) -> None:
    order_id = place_order(PlaceOrder("cust-77", "12.34")).order_id
    follow(OrderSummaryProjection(), EventStore().read_all(), same_size(10))
    follow(CustomerSummaryProjection(), EventStore().read_all(), same_size(10))
    assert str(order_id) in admin_client.get("/admin/projections/ordersummary/").content.decode()
    assert "12.34" in admin_client.get(f"/admin/projections/ordersummary/{order_id}/change/").content.decode()
    assert "cust-77" in admin_client.get("/admin/projections/customersummary/").content.decode()


@pytest.mark.parametrize(
    ("page", "term", "found"),
    [
        ("ordersummary", "{order_id}", True),
        ("ordersummary", "cust-77", True),
        ("ordersummary", "cust-7", False),
        ("ordersummary", "00000000-0000-4000-8000-000000000000", False),
        ("customersummary", "cust-77", True),
        ("customersummary", "cust-7", False),
    ],
)
def test_the_admin_finds_by_whole_ids(admin_client: Client, page: str, term: str, found: bool) -> None:
    order_id = place_order(PlaceOrder("cust-77", "12.34")).order_id
    follow(OrderSummaryProjection(), EventStore().read_all(), same_size(10))
    follow(CustomerSummaryProjection(), EventStore().read_all(), same_size(10))
    response = admin_client.get(f"/admin/projections/{page}/?q={term.format(order_id=order_id)}")
    assert len(response.context["cl"].result_list) == found
