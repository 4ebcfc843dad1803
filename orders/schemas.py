"""What the order API takes and gives, as JSON."""

from decimal import Decimal
from functools import partial
from typing import Annotated
from uuid import UUID

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

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


class CommandSchema(Schema):
    """A command's body: a field that nobody asked for is a mistake of the caller's, so it is named."""

    model_config = ConfigDict(extra="forbid")


class PlaceOrderBody(CommandSchema):
    customer_id: CustomerId
    total: Total
    order_id: UUID | None = None


class ShipOrderBody(CommandSchema):
    tracking_number: TrackingNumber


class DeliverOrderBody(CommandSchema):
    pass


class CancelOrderBody(CommandSchema):
    reason: Reason


class OrderReceiptDocument(Schema):
    """The answer of every command."""

    order_id: UUID
    status: str = Field(examples=["created"])
    version: int
    position: int
