"""The commands over HTTP. The questions are in ``projections.api``, on this same router."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from ninja.decorators import decorate_view

from eventsource_app.http.api_errors import Answer
from eventsource_app.http.callers import requires
from eventsource_app.http.etag import etag, precondition
from eventsource_app.http.idempotency import idempotent
from orders import services
from orders.commands import CancelOrder, DeliverOrder, PlaceOrder, ShipOrder
from orders.exceptions import InvalidOrderError, OrderAlreadyExistsError, OrderStateError
from orders.schemas import (
    AN_ORDER_ID,
    CancelOrderBody,
    DeliverOrderBody,
    OrderReceiptDocument,
    PlaceOrderBody,
    ShipOrderBody,
)

# GET /orders and POST /orders must be on one router: the first of two routers would answer 405 for the other's method.
router = Router(tags=["orders"])

READ, WRITE = requires("orders:read"), requires("orders:write")

PLACED: dict[str, Any] = {
    "responses": {
        201: {"headers": {"Location": {"schema": {"type": "string"}, "example": f"/orders/{AN_ORDER_ID}"}}}
    }
}
ERRORS: dict[type[Exception], Answer] = {
    InvalidOrderError: Answer(422, "invalid-fields"),
    OrderAlreadyExistsError: Answer(409, "order-exists"),
    OrderStateError: Answer(409, "order-state"),
}


@router.post("", auth=WRITE, response={201: OrderReceiptDocument}, openapi_extra=PLACED)
@decorate_view(idempotent)
def place_order(
    request: HttpRequest, response: HttpResponse, body: PlaceOrderBody
) -> Status[OrderReceiptDocument]:
    """Place an order. The answer's ``position`` is where the log has it."""
    receipt = services.place_order(
        PlaceOrder(body.customer_id, body.total, body.order_id), precondition(request)
    )
    response["Location"] = f"{request.path.rstrip('/')}/{receipt.order_id}"
    return Status(201, _answer(response, receipt))


@router.post("/{order_id}/ship", auth=WRITE, response=OrderReceiptDocument)
@decorate_view(idempotent)
def ship_order(
    request: HttpRequest, response: HttpResponse, order_id: UUID, body: ShipOrderBody
) -> OrderReceiptDocument:
    """Ship an order that was created."""
    return _answer(
        response, services.ship_order(ShipOrder(order_id, body.tracking_number), precondition(request))
    )


@router.post("/{order_id}/deliver", auth=WRITE, response=OrderReceiptDocument)
@decorate_view(idempotent)
def deliver_order(
    request: HttpRequest, response: HttpResponse, order_id: UUID, body: DeliverOrderBody | None = None
) -> OrderReceiptDocument:
    """Note that a shipped order has arrived."""
    return _answer(response, services.deliver_order(DeliverOrder(order_id), precondition(request)))


@router.post("/{order_id}/cancel", auth=WRITE, response=OrderReceiptDocument)
@decorate_view(idempotent)
def cancel_order(
    request: HttpRequest, response: HttpResponse, order_id: UUID, body: CancelOrderBody
) -> OrderReceiptDocument:
    """Call off an order that was not shipped yet."""
    return _answer(response, services.cancel_order(CancelOrder(order_id, body.reason), precondition(request)))


def _answer(response: HttpResponse, receipt: services.OrderReceipt) -> OrderReceiptDocument:
    response["ETag"] = etag(receipt.version)
    return OrderReceiptDocument(
        order_id=receipt.order_id, status=receipt.status, version=receipt.version, position=receipt.position
    )
