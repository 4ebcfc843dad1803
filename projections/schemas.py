"""What the questions answer, as JSON."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import AfterValidator, Field

from eventsource_app.http.wait_for import Position
from orders.schemas import CustomerId, Money
from projections.cursors import decode_cursor

StatusName = Literal["created", "shipped", "delivered", "cancelled"]


def _given_out(cursor: str) -> str:
    decode_cursor(cursor)
    return cursor


class OrderDocument(Schema):
    order_id: UUID
    customer_id: str
    total: Money
    status: StatusName
    tracking_number: str | None
    version: int
    position: int


class OrderListDocument(Schema):
    items: list[OrderDocument]
    next_cursor: str | None


class OrderListQuery(Schema):
    status: StatusName | None = None
    customer_id: CustomerId | None = None
    cursor: Annotated[str, AfterValidator(_given_out)] | None = None
    limit: int = Field(50, ge=1, le=200)
    wait_for: Position | None = None


class EventDocument(Schema):
    position: int
    version: int
    event_id: UUID
    event_type: str
    occurred_at: datetime
    recorded_at: datetime
    correlation_id: str | None
    data: dict[str, Any]


class OrderHistoryDocument(Schema):
    order_id: UUID
    events: list[EventDocument]


class CustomerDocument(Schema):
    customer_id: str
    order_count: int
    total_spent: Money


class CustomerPath(Schema):
    customer_id: CustomerId
