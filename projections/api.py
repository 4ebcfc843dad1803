"""The questions over HTTP. Those about orders join the commands' router: one path, one router."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Path, Query, Router

from eventsource_app.aggregates import AggregateNotFoundError
from eventsource_app.events import DomainEvent
from eventsource_app.http.api_errors import Answer
from eventsource_app.http.etag import etag, unchanged
from eventsource_app.http.reached import Goal
from eventsource_app.http.wait_for import (
    Position,
    Representation,
    check_position,
    preferring,
    wait_until_reached,
)
from eventsource_app.store import RecordedEvent
from orders.api import READ
from orders.api import router as orders_router
from orders.events import ORDER
from projections import queries
from projections.cursors import decode_cursor, encode_cursor
from projections.exceptions import UnknownCustomerError
from projections.models import CustomerSummary, OrderSummary
from projections.schemas import (
    CustomerDocument,
    CustomerPath,
    EventDocument,
    OrderDocument,
    OrderHistoryDocument,
    OrderListDocument,
    OrderListQuery,
)
from projections.subscriptions import CUSTOMERS, ORDERS

customers_router = Router(tags=["customers"])

_ETAG = {"schema": {"type": "string"}, "example": etag(2)}
CONDITIONAL: dict[str, Any] = {
    "parameters": [
        {"in": "header", "name": "If-None-Match", "schema": {"type": "string"}, "example": etag(1)},
    ],
    "responses": {
        200: {"headers": {"ETag": _ETAG}},
        304: {"description": "Not Modified", "headers": {"ETag": _ETAG}},
    },
}
ERRORS: dict[type[Exception], Answer] = {UnknownCustomerError: Answer(404, "not-found")}


@orders_router.get("", auth=READ, response=OrderListDocument)
def list_orders(request: HttpRequest, query: Query[OrderListQuery]) -> OrderListDocument:
    """Orders as the read model has them, newest first; ``next_cursor`` leads to the next page."""
    wait_until_reached(ORDERS, query.wait_for)
    page = queries.list_orders(
        limit=query.limit,
        status=query.status,
        customer_id=query.customer_id,
        before=decode_cursor(query.cursor) if query.cursor is not None else None,
    )
    return OrderListDocument(
        items=[_order_document(order) for order in page.orders],
        next_cursor=None if page.next_before is None else encode_cursor(page.next_before),
    )


@orders_router.get("/{order_id}", auth=READ, response=OrderDocument, openapi_extra=CONDITIONAL)
def get_order(
    request: HttpRequest, response: HttpResponse, order_id: UUID, wait_for: Position | None = None
) -> OrderDocument | HttpResponse:
    """One order as the read model has it, a moment after the command."""
    wait_until_reached(ORDERS, wait_for, order_id)
    order = queries.find_order(order_id)
    if order is None:
        raise AggregateNotFoundError(ORDER, order_id)
    response["ETag"] = etag(order.version)
    return unchanged(request, order.version) or _order_document(order)


@orders_router.get("/{order_id}/events", auth=READ, response=OrderHistoryDocument)
def order_history(
    request: HttpRequest, order_id: UUID, wait_for: Position | None = None
) -> OrderHistoryDocument:
    """What happened to an order, straight from the log, which has nothing to wait for."""
    check_position(wait_for)
    history = queries.order_history(order_id)
    if not history:
        raise AggregateNotFoundError(ORDER, order_id)
    return OrderHistoryDocument(order_id=order_id, events=[_event_document(each) for each in history])


@customers_router.get("/{path:customer_id}", auth=READ, response=CustomerDocument)
def get_customer(
    request: HttpRequest, path: Path[CustomerPath], wait_for: Position | None = None
) -> CustomerDocument:
    """What a customer has ordered; cancelled orders are not in it."""
    wait_until_reached(CUSTOMERS, wait_for)
    customer = queries.find_customer(path.customer_id)
    if customer is None:
        raise UnknownCustomerError(path.customer_id)
    return _customer_document(customer)


def _goal(receipt: dict[str, Any]) -> Goal:
    return Goal(ORDERS, receipt["position"], UUID(receipt["order_id"]))


def _read_order(order_id: UUID) -> Representation | None:
    order = queries.find_order(order_id)
    return (
        None
        if order is None
        else Representation(order.version, _order_document(order).model_dump_json().encode())
    )


# Commands know no read model, so what `Prefer: wait` answers with is added to their router here.
orders_router.add_decorator(preferring(_goal, _read_order), mode="view")


def _order_document(order: OrderSummary) -> OrderDocument:
    return OrderDocument.model_validate(order, from_attributes=True)


def _customer_document(customer: CustomerSummary) -> CustomerDocument:
    return CustomerDocument.model_validate(customer, from_attributes=True)


def _event_document(recorded: RecordedEvent) -> EventDocument:
    event = recorded.event
    payload = set(type(event).model_fields) - set(DomainEvent.model_fields)
    return EventDocument(
        position=recorded.position,
        version=event.aggregate_version,
        event_id=event.event_id,
        event_type=event.event_type,
        occurred_at=event.occurred_at,
        recorded_at=recorded.recorded_at,
        correlation_id=event.correlation_id,
        data=event.model_dump(mode="json", include=payload),
    )
