"""Middleware that names each request, so that its log lines and its events can be found by one id."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from eventsource_app.events.identifiers import uuid7
from eventsource_app.observability.correlation import correlation, is_valid_correlation_id

HEADER = "X-Request-ID"


class CorrelationMiddleware:
    """Take the caller's ``X-Request-ID`` when it is a harmless one, else make one; answer with it. Goes first."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        offered = request.headers.get(HEADER, "")
        correlation_id = offered if is_valid_correlation_id(offered) else str(uuid7())
        request.correlation_id = correlation_id  # type: ignore[attr-defined]  # for what is logged afterwards
        with correlation(correlation_id):
            response = self.get_response(request)
        response[HEADER] = correlation_id
        return response
