"""Requests are counted by the route's template, whatever stands in the path."""

from uuid import uuid4

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import resolve

from eventsource_app.observability.metrics import http_request_seconds, http_requests
from eventsource_app.observability.requests import UNMATCHED, RequestMetricsMiddleware, route_of


def answer(method: str, path: str, status: int = 200, *, matched: bool = True) -> HttpRequest:
    request = RequestFactory().generic(method, path)

    def view(request: HttpRequest) -> HttpResponse:
        if matched:
            request.resolver_match = resolve(path)
        return HttpResponse(status=status)

    assert RequestMetricsMiddleware(view)(request).status_code == status
    return request


def counted(*labels: str) -> float:
    return float(http_requests.labels(*labels)._value.get())


def test_two_orders_are_one_series() -> None:
    routes = {route_of(answer("GET", f"/orders/{uuid4()}")) for _ in range(2)}
    assert len(routes) == 1
    assert "<" in routes.pop()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_request_is_counted_and_timed(method: str) -> None:
    labels = (method, "/health/live", "503")
    before = counted(*labels)
    timed_before = http_request_seconds.labels(*labels[:2])._sum.get()
    answer(method, "/health/live", 503)
    assert counted(*labels) == before + 1
    assert http_request_seconds.labels(*labels[:2])._sum.get() > timed_before


def test_what_strangers_invent_is_no_series_of_its_own() -> None:
    before = counted("other", UNMATCHED, "404")
    for path in ("/wp-login.php", "/etc/passwd"):
        answer("BREW", path, 404, matched=False)
    assert counted("other", UNMATCHED, "404") == before + 2
