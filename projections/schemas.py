"""What the questions answer, as JSON."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from eventsource_app.http.wait_for import Position
from orders.schemas import AN_ORDER_ID, CustomerId, Money, example
from projections.cursors import decode_cursor

StatusName = Literal["created", "shipped", "delivered", "cancelled"]


def _given_out(cursor: str) -> str:
    decode_cursor(cursor)
    return cursor


_ORDER: dict[str, Any] = {
    "order_id": AN_ORDER_ID,
    "customer_id": "ada",
    "total": "499.99",
    "status": "shipped",
    "tracking_number": "TRACK-1",
    "version": 2,
    "position": 3,
}
_EVENT: dict[str, Any] = {
    "position": 2,
    "version": 1,
    "event_id": "0190a000-0000-7000-8000-000000000002",
    "event_type": "OrderCreated",
    "occurred_at": "2026-11-23T20:41:03.572Z",
    "recorded_at": "2026-11-23T20:41:03.587Z",
    "correlation_id": "0190a000-0000-7000-8000-00000000000c",
    "data": {"customer_id": "ada", "total": "499.99"},
}


class OrderDocument(BaseModel):
    model_config = ConfigDict(json_schema_extra=example(**_ORDER))

    order_id: UUID
    customer_id: str
    total: Money
    status: StatusName
    tracking_number: str | None
    version: int
    position: int


class OrderListDocument(BaseModel):
    model_config = ConfigDict(json_schema_extra=example(items=[_ORDER], next_cursor="AQAAAAAAAAAD"))

    items: list[OrderDocument]
    next_cursor: str | None


class OrderListQuery(BaseModel):
    status: StatusName | None = None
    customer_id: CustomerId | None = None
    cursor: Annotated[str, AfterValidator(_given_out)] | None = None
    limit: int = Field(50, ge=1, le=200)
    wait_for: Position | None = None


class EventDocument(BaseModel):
    position: int
    version: int
    event_id: UUID
    event_type: str
    occurred_at: datetime
    recorded_at: datetime
    correlation_id: str | None
    data: dict[str, Any]


class OrderHistoryDocument(BaseModel):
    model_config = ConfigDict(json_schema_extra=example(order_id=AN_ORDER_ID, events=[_EVENT]))

    order_id: UUID
    events: list[EventDocument]


class CustomerDocument(BaseModel):
    model_config = ConfigDict(
        json_schema_extra=example(customer_id="ada", order_count=1, total_spent="499.99")
    )

    customer_id: str
    order_count: int
    total_spent: Money


class CustomerPath(BaseModel):
    customer_id: CustomerId
