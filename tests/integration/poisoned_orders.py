"""The real subscription `orders` with an order that its read model cannot take, and an operator's process without workers."""

from decimal import Decimal
from uuid import UUID

import pytest

from eventsource_app.models import DeadLetter
from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import SubscriptionManager, declared_subscriptions
from orders.commands import PlaceOrder, ShipOrder
from orders.services import place_order, ship_order
from projections.models import OrderSummary
from projections.order_summary import OrderSummaryProjection


class PoisonedOrders:
    """Each order is placed and shipped; placing is what fails, until ``fix``."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, count: int = 1, saying: str = "no such customer"
    ) -> None:
        self._poison: set[UUID] = set()
        handle_batch = OrderSummaryProjection.handle_batch

        def poisoned(projection: OrderSummaryProjection, recorded: list[RecordedEvent]) -> None:
            for each in recorded:
                if each.aggregate_id in self._poison and each.event_type == "OrderCreated":
                    raise ValueError(saying)
            handle_batch(projection, recorded)

        monkeypatch.setattr(OrderSummaryProjection, "handle_batch", poisoned)
        self.order_ids = [place_order(PlaceOrder("cust-1", Decimal("5.00"))).order_id for _ in range(count)]
        for order_id in self.order_ids:
            ship_order(ShipOrder(order_id, "T-1"))
        place_order(PlaceOrder("cust-2", Decimal("5.00")))  # a success, so that no breaker opens
        self._poison = set(self.order_ids)
        run_to_the_end("orders")

    def fix(self, *order_ids: UUID) -> None:
        self._poison -= set(order_ids or self.order_ids)

    @property
    def letters(self) -> list[DeadLetter]:
        return list(DeadLetter.objects.order_by("position"))

    @property
    def statuses(self) -> list[str]:
        """Of the poisoned orders that the read model has."""
        rows = OrderSummary.objects.filter(order_id__in=self.order_ids)
        return sorted(rows.values_list("status", flat=True))


def run_to_the_end(name: str) -> None:
    manager = SubscriptionManager()
    found = declared_subscriptions()[name]
    manager.subscribe(found.projection, found.config, name)
    manager.run_until_caught_up()
