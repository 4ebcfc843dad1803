"""What a caller may ask for, as plain values."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """Place a new order; without ``order_id`` it gets one of its own."""

    customer_id: str
    total: Decimal | float | str
    order_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ShipOrder:
    """Hand an order to a carrier."""

    order_id: UUID
    tracking_number: str


@dataclass(frozen=True, slots=True)
class DeliverOrder:
    """Note that an order has arrived."""

    order_id: UUID


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Call an order off."""

    order_id: UUID
    reason: str
