"""What happens to an order. These classes are the log's format: add fields with a default, never change one."""

from decimal import Decimal

from eventsource_app.events import DomainEvent, register_event

ORDER = "Order"


@register_event
class OrderCreated(DomainEvent):
    """A customer placed the order."""

    aggregate_type: str = ORDER
    customer_id: str
    total: Decimal


@register_event
class OrderShipped(DomainEvent):
    """The order left the house."""

    aggregate_type: str = ORDER
    tracking_number: str


@register_event
class OrderDelivered(DomainEvent):
    """The customer has the order."""

    aggregate_type: str = ORDER


@register_event
class OrderCancelled(DomainEvent):
    """The order was called off before it was shipped."""

    aggregate_type: str = ORDER
    reason: str
