"""The order's rules."""

from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from eventsource_app.exceptions import EventSourceError
from orders.aggregate import OrderAggregate
from orders.events import OrderCancelled, OrderCreated, OrderDelivered, OrderShipped
from orders.exceptions import InvalidOrderError, OrderAlreadyExistsError, OrderStateError

VERBS = {
    "ship": lambda order: order.ship("T-1"),
    "deliver": lambda order: order.deliver(),
    "cancel": lambda order: order.cancel("changed my mind"),
}
ALLOWED = {
    ("created", "ship"): "shipped",
    ("shipped", "deliver"): "delivered",
    ("created", "cancel"): "cancelled",
}
WAYS = {
    "draft": [],
    "created": ["create"],
    "shipped": ["create", "ship"],
    "delivered": ["create", "ship", "deliver"],
    "cancelled": ["create", "cancel"],
}


def order_in(status: str) -> OrderAggregate:
    order = OrderAggregate(uuid4())
    for verb in WAYS[status]:
        order.create("cust-1", "10.00") if verb == "create" else VERBS[verb](order)
    assert order.state.status == status
    return order


def test_an_order_goes_all_the_way_and_says_what_happened() -> None:
    order = order_in("delivered")
    created, shipped, delivered = order.uncommitted_events
    assert isinstance(created, OrderCreated)
    assert (created.customer_id, created.total) == ("cust-1", Decimal("10.00"))
    assert isinstance(shipped, OrderShipped)
    assert shipped.tracking_number == "T-1"
    assert isinstance(delivered, OrderDelivered)
    assert [event.aggregate_version for event in order.uncommitted_events] == [1, 2, 3]
    assert {event.aggregate_type for event in order.uncommitted_events} == {"Order"}
    assert order.state.tracking_number == "T-1"


def test_a_cancelled_order_keeps_its_reason_in_the_event() -> None:
    cancelled = order_in("cancelled").uncommitted_events[-1]
    assert isinstance(cancelled, OrderCancelled)
    assert cancelled.reason == "changed my mind"


@pytest.mark.parametrize("status", WAYS)
@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_possible_in_one_status_only(status: str, verb: str) -> None:
    order = order_in(status)
    before = order.uncommitted_events
    if (status, verb) in ALLOWED:
        VERBS[verb](order)
        assert order.state.status == ALLOWED[status, verb]
        return
    with pytest.raises(OrderStateError) as refused:
        VERBS[verb](order)
    assert str(refused.value) == f"Cannot {verb} order in current state"
    assert (refused.value.order_id, refused.value.status) == (order.aggregate_id, status)
    assert order.uncommitted_events == before


@pytest.mark.parametrize("status", [status for status in WAYS if status != "draft"])
def test_an_order_is_created_once(status: str) -> None:
    with pytest.raises(OrderAlreadyExistsError, match=r"^Order already exists$"):
        order_in(status).create("cust-2", "1.00")


def test_the_tutorials_float_total_is_exact_money() -> None:
    order = OrderAggregate(uuid4())
    order.create(customer_id="cust-prod-001", total=499.99)
    assert order.state.total == Decimal("499.99")


@pytest.mark.parametrize("total", [0, -1, "1.001", float("nan"), 10**12])
def test_an_impossible_total_creates_nothing(total: float | str) -> None:
    order = OrderAggregate(uuid4())
    with pytest.raises(InvalidOrderError):
        order.create("cust-1", total)
    assert order.uncommitted_events == ()
    assert order.state.status == "draft"


@pytest.mark.parametrize(
    "refusal", [OrderAlreadyExistsError(UUID(int=1)), OrderStateError("ship", UUID(int=1), "draft")]
)
def test_refusals_are_the_engines_errors_and_the_tutorials(refusal: Exception) -> None:
    assert isinstance(refusal, ValueError)
    assert isinstance(refusal, EventSourceError)


def test_history_rebuilds_the_same_state() -> None:
    order = order_in("shipped")
    again = OrderAggregate(order.aggregate_id)
    again.load_from_history(order.uncommitted_events)
    assert again.state == order.state
    assert again.version == 2
