"""Request ids: a harmless one is kept, any other is replaced, and work in the request sees it."""

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils.log import log_response

from eventsource_app.http.correlation import CorrelationMiddleware
from eventsource_app.observability.correlation import CorrelationFilter, current_correlation_id


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(current_correlation_id() or "")


def test_a_valid_id_is_used_and_echoed() -> None:
    response = CorrelationMiddleware(view)(RequestFactory().get("/", headers={"X-Request-ID": "Job_7.a-b"}))
    assert response["X-Request-ID"] == response.content.decode() == "Job_7.a-b"


@pytest.mark.parametrize("offered", ["", "a b", "x" * 65, 'a"b', "é", "a\tb", "a;b"])
def test_an_invalid_id_is_replaced(offered: str) -> None:
    response = CorrelationMiddleware(view)(RequestFactory().get("/", headers={"X-Request-ID": offered}))
    assert response["X-Request-ID"] == response.content.decode()
    assert response["X-Request-ID"] not in ("", offered)


def test_each_request_gets_its_own_and_nothing_is_left_behind() -> None:
    middleware = CorrelationMiddleware(view)
    first, second = (middleware(RequestFactory().get("/"))["X-Request-ID"] for _ in range(2))
    assert first != second
    assert current_correlation_id() is None


def test_what_django_logs_of_an_answer_afterwards_has_the_requests_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = RequestFactory().get("/", headers={"X-Request-ID": "Job_7"})
    response = CorrelationMiddleware(lambda _request: HttpResponse(status=404))(request)

    log_response("Not Found: %s", request.path, response=response, request=request)

    (record,) = caplog.records
    CorrelationFilter().filter(record)
    assert record.__dict__["correlation_id"] == "Job_7"
