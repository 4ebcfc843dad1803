"""The read model of customers: how many orders and how much, cancelled ones excluded."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import Projection
from orders.events import OrderCancelled, OrderCreated
from projections.exceptions import MissingOrderError
from projections.models import CustomerOrder, CustomerSummary


class CustomerSummaryProjection(Projection):
    """Fold a batch into one sum per customer: at most five statements, whatever the batch's size.

    Two orders of one customer may live in two partitions and both write the customer's row, so there is one partition.
    """

    max_partitions = 1
    handled_events = (OrderCreated, OrderCancelled)

    def handle_batch(self, recorded: list[RecordedEvent]) -> None:
        """Add what was ordered and subtract what was cancelled; raises ``MissingOrderError``."""
        created = {each.aggregate_id: _order_of(each.event) for each in recorded if _creates(each)}
        cancelled_at = {each.aggregate_id: each.position for each in recorded if _cancels(each)}
        # An order that this very batch creates and cancels adds nothing and leaves no row.
        added = [order for order_id, order in created.items() if order_id not in cancelled_at]
        removed = _take_orders({k: v for k, v in cancelled_at.items() if k not in created})
        CustomerOrder.objects.bulk_create(added)
        customers = {order.customer_id for order in created.values()}
        _add_to_customers(customers, _changes(added, removed))

    def reset(self) -> None:
        """Empty the read model."""
        CustomerSummary.objects.all().delete()
        CustomerOrder.objects.all().delete()


@dataclass(slots=True)
class Change:
    """What a batch does to one customer."""

    order_count: int = 0
    total_spent: Decimal = Decimal(0)


def _creates(recorded: RecordedEvent) -> bool:
    return isinstance(recorded.event, OrderCreated)


def _cancels(recorded: RecordedEvent) -> bool:
    return isinstance(recorded.event, OrderCancelled)


def _order_of(event: object) -> CustomerOrder:
    assert isinstance(event, OrderCreated)  # noqa: S101 - the caller has filtered
    return CustomerOrder(order_id=event.aggregate_id, customer_id=event.customer_id, total=event.total)


def _take_orders(cancelled_at: dict[UUID, int]) -> list[CustomerOrder]:
    """Return the cancelled orders and forget them."""
    if not cancelled_at:
        return []
    orders = CustomerOrder.objects.in_bulk(cancelled_at)
    for order_id, position in cancelled_at.items():
        if order_id not in orders:
            raise MissingOrderError("CustomerOrder", order_id, position)
    CustomerOrder.objects.filter(order_id__in=orders).delete()
    return list(orders.values())


def _changes(added: Sequence[CustomerOrder], removed: Sequence[CustomerOrder]) -> dict[str, Change]:
    changes: dict[str, Change] = defaultdict(Change)
    for sign, orders in ((1, added), (-1, removed)):
        for order in orders:
            changes[order.customer_id].order_count += sign
            changes[order.customer_id].total_spent += sign * order.total
    return changes


def _add_to_customers(seen: Iterable[str], changes: dict[str, Change]) -> None:
    """Add the changes to the rows; a customer who was only seen gets a row too, with nothing in it.

    Reading before writing is safe: the locked checkpoint row makes this the table's only writer.
    """
    customer_ids = {*seen, *changes}
    rows = CustomerSummary.objects.in_bulk(customer_ids) if customer_ids else {}
    for customer_id in customer_ids:
        row = rows.setdefault(customer_id, CustomerSummary(customer_id=customer_id, total_spent=Decimal(0)))
        change = changes.get(customer_id, Change())
        row.order_count += change.order_count
        row.total_spent += change.total_spent
    CustomerSummary.objects.bulk_create(
        rows.values(),
        update_conflicts=True,
        unique_fields=["customer_id"],
        update_fields=["order_count", "total_spent"],
    )
