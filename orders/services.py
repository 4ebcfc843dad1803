"""The commands carried out: the one way from a caller (HTTP, a management command) to the log."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from eventsource_app.aggregates import AggregateRepository
from eventsource_app.events.identifiers import new_id
from eventsource_app.store import EventStore, WrongExpectedVersionError
from orders.aggregate import OrderAggregate
from orders.commands import CancelOrder, DeliverOrder, PlaceOrder, ShipOrder
from orders.events import ORDER
from orders.exceptions import OrderAlreadyExistsError

# Looks at the order as it is before the command decides, and raises when the caller believed something else.
Check = Callable[[OrderAggregate], None]


def unconditional(order: OrderAggregate) -> None:
    """Let every order pass."""


@dataclass(frozen=True, slots=True)
class OrderReceipt:
    """What a command led to: the order's status and version now, and the log position of its last event."""

    order_id: UUID
    status: str
    version: int
    position: int


@cache
def order_repository() -> AggregateRepository[OrderAggregate]:
    """Return the repository of orders, one per process."""
    return AggregateRepository(
        event_store=EventStore(), aggregate_factory=OrderAggregate, aggregate_type=ORDER
    )


def place_order(command: PlaceOrder, check: Check = unconditional) -> OrderReceipt:
    """Place an order; raises ``OrderAlreadyExistsError`` or ``InvalidOrderError``."""
    order = order_repository().create_new(command.order_id or new_id("aggregate"))
    check(order)
    order.create(customer_id=command.customer_id, total=command.total)
    try:
        result = order_repository().save(order)
    except WrongExpectedVersionError as error:
        raise OrderAlreadyExistsError(order.aggregate_id) from error
    return OrderReceipt(order.aggregate_id, order.state.status, result.version, result.position)


def ship_order(command: ShipOrder, check: Check = unconditional) -> OrderReceipt:
    """Ship an order; raises ``AggregateNotFoundError``, ``OrderStateError``, ``InvalidOrderError`` or, after too
    many lost races, ``WrongExpectedVersionError``."""
    return _execute(command.order_id, check, lambda order: order.ship(command.tracking_number))


def deliver_order(command: DeliverOrder, check: Check = unconditional) -> OrderReceipt:
    """Note an order's arrival; raises as ``ship_order`` does."""
    return _execute(command.order_id, check, lambda order: order.deliver())


def cancel_order(command: CancelOrder, check: Check = unconditional) -> OrderReceipt:
    """Call an order off; raises as ``ship_order`` does."""
    return _execute(command.order_id, check, lambda order: order.cancel(command.reason))


def _execute(order_id: UUID, check: Check, decide: Callable[[OrderAggregate], None]) -> OrderReceipt:
    status = ""

    def decide_and_note(order: OrderAggregate) -> None:
        nonlocal status
        check(order)
        decide(order)
        status = order.state.status

    result = order_repository().execute(order_id, decide_and_note)
    return OrderReceipt(order_id, status, result.version, result.position)
