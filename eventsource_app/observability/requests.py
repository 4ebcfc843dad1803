"""Middleware that counts and times requests, by the route's template: the path itself would be a series per order."""

import time
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from eventsource_app.observability import metrics

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"


class RequestMetricsMiddleware:
    """Goes first, so that what other middleware answers is counted too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - started
        method = request.method if request.method in METHODS else "other"
        route = route_of(request)
        metrics.http_requests.labels(method, route, str(response.status_code)).inc()
        metrics.http_request_seconds.labels(method, route).observe(seconds)
        return response


def route_of(request: HttpRequest) -> str:
    """Return the template of the route that the request took, such as ``/orders/<order_id>``."""
    match = request.resolver_match
    return UNMATCHED if match is None else f"/{match.route}"
