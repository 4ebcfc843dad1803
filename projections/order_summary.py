"""The read model of orders: one row per order."""

from collections.abc import Sequence
from uuid import UUID

from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import Projection
from orders.events import OrderCancelled, OrderCreated, OrderDelivered, OrderShipped
from projections.exceptions import MissingOrderError
from projections.models import OrderSummary

CHANGING_FIELDS = ("status", "tracking_number", "version", "position")


class OrderSummaryProjection(Projection):
    """Fold a batch in memory, then write each order once: at most two statements, whatever the batch's size.

    It writes only rows of the event's own order, so it may run in any number of partitions.
    """

    handled_events = (OrderCreated, OrderShipped, OrderDelivered, OrderCancelled)

    def handle_batch(self, recorded: list[RecordedEvent]) -> None:
        """Bring the orders of these events up to date; raises ``MissingOrderError``."""
        rows = _existing_rows(recorded)
        for each in recorded:
            _apply(each, rows)
        OrderSummary.objects.bulk_create(
            rows.values(),
            update_conflicts=True,
            unique_fields=["order_id"],
            update_fields=CHANGING_FIELDS,
        )

    def reset(self) -> None:
        """Empty the read model."""
        OrderSummary.objects.all().delete()


def _existing_rows(recorded: Sequence[RecordedEvent]) -> dict[UUID, OrderSummary]:
    """Return the stored rows of the orders that were not created in this batch."""
    created = {each.aggregate_id for each in recorded if isinstance(each.event, OrderCreated)}
    wanted = {each.aggregate_id for each in recorded} - created
    return OrderSummary.objects.in_bulk(wanted) if wanted else {}


def _apply(recorded: RecordedEvent, rows: dict[UUID, OrderSummary]) -> None:
    event = recorded.event
    if isinstance(event, OrderCreated):
        rows[event.aggregate_id] = _new_row(event, recorded.position)
        return
    row = rows.get(event.aggregate_id)
    if row is None:
        raise MissingOrderError("OrderSummary", event.aggregate_id, recorded.position)
    if isinstance(event, OrderShipped):
        row.status, row.tracking_number = OrderSummary.Status.SHIPPED, event.tracking_number
    elif isinstance(event, OrderDelivered):
        row.status = OrderSummary.Status.DELIVERED
    elif isinstance(event, OrderCancelled):
        row.status = OrderSummary.Status.CANCELLED
    row.version, row.position = event.aggregate_version, recorded.position


def _new_row(event: OrderCreated, position: int) -> OrderSummary:
    return OrderSummary(
        order_id=event.aggregate_id,
        customer_id=event.customer_id,
        total=event.total,
        status=OrderSummary.Status.CREATED,
        version=event.aggregate_version,
        position=position,
        created_at=event.occurred_at,
        created_position=position,
    )
