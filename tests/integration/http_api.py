"""Calling the order API through Django's test client."""

import json
from typing import Any

from django.test import Client

from eventsource_app.http.tokens import create_token
from eventsource_app.store import EventStore
from projections.customer_summary import CustomerSummaryProjection
from projections.order_summary import OrderSummaryProjection

SCOPES = ("orders:read", "orders:write")


def client(*scopes: str, name: str = "test") -> Client:
    """A caller with a token for these scopes (for all, where none is named)."""
    token = create_token(name, scopes or SCOPES).text
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {token}"})


def post(api: Client, url: str, body: Any = None, **headers: str) -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps({} if body is None else body)
    return api.post(url, text, content_type="application/json", headers=headers)


def place(api: Client, **body: Any) -> dict[str, Any]:
    response = post(api, "/orders", {"customer_id": "cust-1", "total": "10.00", **body})
    assert response.status_code == 201, response.content
    return dict(response.json())


def follow_the_log() -> None:
    """Make the read models what the whole log says."""
    orders, customers = OrderSummaryProjection(), CustomerSummaryProjection()
    orders.reset()
    customers.reset()
    recorded = EventStore().read_all()
    orders.handle_batch(recorded)
    customers.handle_batch([r for r in recorded if r.event_type in ("OrderCreated", "OrderCancelled")])


def assert_problem(response: Any, status: int, detail: str = "") -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document = response.json()
    assert {"type", "title", "status", "detail", "instance", "correlation_id"} <= set(document)
    assert document["status"] == status
    assert document["correlation_id"] == response["X-Request-ID"]
    assert detail in document["detail"]
    return dict(document)
