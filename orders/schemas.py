"""What the order API takes and gives, as JSON."""

from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from orders.values import MAX_TEXT_LENGTH, parse_text, parse_total

Total = Annotated[
    Decimal,
    BeforeValidator(parse_total),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,2})?$"},
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**12, "multipleOf": 0.01},
            ],
            "examples": ["499.99"],
        },
        mode="validation",
    ),
]
_text_schema = WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TEXT_LENGTH})
CustomerId = Annotated[str, BeforeValidator(partial(parse_text, "customer_id")), _text_schema]
TrackingNumber = Annotated[str, BeforeValidator(partial(parse_text, "tracking_number")), _text_schema]
Reason = Annotated[str, BeforeValidator(partial(parse_text, "reason")), _text_schema]
Money = Annotated[
    Decimal,
    PlainSerializer(lambda amount: f"{amount:.2f}", return_type=str),
    WithJsonSchema({"type": "string", "examples": ["499.99"]}),
]


def example(**fields: Any) -> dict[str, Any]:
    """Return a schema's example, for the API's description."""
    return {"examples": [fields]}


AN_ORDER_ID = "0190a000-0000-7000-8000-000000000001"


class CommandSchema(BaseModel):
    """A command's body: a field that nobody asked for is a mistake of the caller's, so it is named."""

    model_config = ConfigDict(extra="forbid")


class PlaceOrderBody(CommandSchema):
    model_config = ConfigDict(json_schema_extra=example(customer_id="ada", total="499.99"))

    customer_id: CustomerId
    total: Total
    order_id: UUID | None = None


class ShipOrderBody(CommandSchema):
    model_config = ConfigDict(json_schema_extra=example(tracking_number="TRACK-1"))

    tracking_number: TrackingNumber


class DeliverOrderBody(CommandSchema):
    model_config = ConfigDict(json_schema_extra=example())


class CancelOrderBody(CommandSchema):
    model_config = ConfigDict(json_schema_extra=example(reason="ordered twice"))

    reason: Reason


class OrderReceiptDocument(BaseModel):
    """The answer of every command."""

    model_config = ConfigDict(
        json_schema_extra=example(order_id=AN_ORDER_ID, status="created", version=1, position=2)
    )

    order_id: UUID
    status: str
    version: int
    position: int
