"""The questions that the read models answer."""

from dataclasses import dataclass
from uuid import UUID

from eventsource_app.store import EventStore, RecordedEvent, StreamId
from eventsource_app.store.session import fetch_all, log_database
from orders.events import ORDER
from projections.models import CustomerSummary, OrderSummary


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some orders, newest first, and the position to go on below (``None`` on the last page)."""

    orders: list[OrderSummary]
    next_before: int | None


_ORDER_FIELDS = ("order_id", "customer_id", "total", "status", "tracking_number", "version", "position")
# By far the commonest question: prepared, and without the ORM, which takes longer to write the SQL than the server to answer.
FIND_ORDER = f"SELECT {', '.join(_ORDER_FIELDS)} FROM projections_ordersummary WHERE order_id = %s"  # noqa: S608


def find_order(order_id: UUID) -> OrderSummary | None:
    """Return the order as the read model has it, with the fields that are answered."""
    rows = fetch_all(log_database(), FIND_ORDER, (order_id,))
    return OrderSummary(**dict(zip(_ORDER_FIELDS, rows[0], strict=True))) if rows else None


def list_orders(
    *,
    limit: int,
    status: str | None = None,
    customer_id: str | None = None,
    before: int | None = None,
) -> OrderPage:
    """Return up to ``limit`` orders created below position ``before``, newest first."""
    orders = OrderSummary.objects.order_by("-created_position")
    if status is not None:
        orders = orders.filter(status=status)
    if customer_id is not None:
        orders = orders.filter(customer_id=customer_id)
    if before is not None:
        orders = orders.filter(created_position__lt=before)
    found = list(orders[: limit + 1])
    page = found[:limit]
    return OrderPage(page, page[-1].created_position if len(found) > limit else None)


def order_history(order_id: UUID) -> list[RecordedEvent]:
    """Return the order's events in order, straight from the log; empty where there is no such order."""
    return EventStore().read_stream(StreamId(ORDER, order_id))


def find_customer(customer_id: str) -> CustomerSummary | None:
    """Return the customer as the read model has it."""
    return CustomerSummary.objects.filter(customer_id=customer_id).first()
