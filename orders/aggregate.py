"""The order: the rules that every command has to pass."""

from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from eventsource_app.aggregates import AggregateRoot, register_aggregate
from eventsource_app.events import DomainEvent
from orders.events import ORDER, OrderCancelled, OrderCreated, OrderDelivered, OrderShipped
from orders.exceptions import OrderAlreadyExistsError, OrderStateError
from orders.values import parse_text, parse_total


class OrderState(BaseModel):
    """What the events so far say about one order."""

    model_config = ConfigDict(frozen=True)

    order_id: UUID
    customer_id: str | None = None
    total: Decimal = Decimal("0.00")
    status: str = "draft"
    tracking_number: str | None = None


@register_aggregate
class OrderAggregate(AggregateRoot[OrderState]):
    """One order: created once, shipped once created, delivered once shipped, cancelled only before shipping."""

    aggregate_type = ORDER

    def create(self, customer_id: str, total: Decimal | float | str) -> None:
        """Place the order; raises ``OrderAlreadyExistsError`` or ``InvalidOrderError``."""
        if self.version > 0:
            raise OrderAlreadyExistsError(self.aggregate_id)
        self.apply_event(
            OrderCreated(
                aggregate_id=self.aggregate_id,
                aggregate_version=self.get_next_version(),
                customer_id=parse_text("customer_id", customer_id),
                total=parse_total(total),
            )
        )

    def ship(self, tracking_number: str) -> None:
        """Hand the order to a carrier; raises ``OrderStateError`` or ``InvalidOrderError``."""
        self._require("created", "ship")
        self.apply_event(
            OrderShipped(
                aggregate_id=self.aggregate_id,
                aggregate_version=self.get_next_version(),
                tracking_number=parse_text("tracking_number", tracking_number),
            )
        )

    def deliver(self) -> None:
        """Note that the customer has it; raises ``OrderStateError``."""
        self._require("shipped", "deliver")
        self.apply_event(
            OrderDelivered(aggregate_id=self.aggregate_id, aggregate_version=self.get_next_version())
        )

    def cancel(self, reason: str) -> None:
        """Call the order off; raises ``OrderStateError`` or ``InvalidOrderError``."""
        self._require("created", "cancel")
        self.apply_event(
            OrderCancelled(
                aggregate_id=self.aggregate_id,
                aggregate_version=self.get_next_version(),
                reason=parse_text("reason", reason),
            )
        )

    def _require(self, status: str, verb: str) -> None:
        if self.state.status != status:
            raise OrderStateError(verb, self.aggregate_id, self.state.status)

    def _get_initial_state(self) -> OrderState:
        return OrderState(order_id=self.aggregate_id)

    def _apply(self, event: DomainEvent) -> None:
        match event:
            case OrderCreated():
                self._change(status="created", customer_id=event.customer_id, total=event.total)
            case OrderShipped():
                self._change(status="shipped", tracking_number=event.tracking_number)
            case OrderDelivered():
                self._change(status="delivered")
            case OrderCancelled():
                self._change(status="cancelled")

    def _change(self, **values: object) -> None:
        self._state = self.state.model_copy(update=values)
