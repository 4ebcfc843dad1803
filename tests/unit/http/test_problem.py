"""The problem document's shape."""

import json

import pytest
from django.test import RequestFactory

from eventsource_app.http.problem import pointer, problem
from eventsource_app.observability.correlation import correlation


def test_a_plain_status_is_about_blank_with_the_statuss_own_title() -> None:
    with correlation("abc-1"):
        response = problem(RequestFactory().get("/no where"), 404)
    assert response["Content-Type"] == "application/problem+json"
    assert json.loads(response.content) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at /no%20where.",
        "instance": "/no%20where",
        "correlation_id": "abc-1",
    }


def test_a_kind_gives_type_and_title() -> None:
    document = json.loads(problem(RequestFactory().post("/x"), 409, "Too late.", kind="lost-race").content)
    assert (document["type"], document["title"], document["detail"]) == (
        "urn:problem:lost-race",
        "Lost race",
        "Too late.",
    )


def test_invalid_fields_are_listed() -> None:
    errors = [{"location": "body", "pointer": "/total", "detail": "Too much."}]
    document = json.loads(problem(RequestFactory().post("/x"), 422, "No.", errors=errors).content)  # type: ignore[arg-type]
    assert document["errors"] == errors


def test_503_says_when_to_come_back() -> None:
    assert int(problem(RequestFactory().get("/x"), 503)["Retry-After"]) > 0
    assert "Retry-After" not in problem(RequestFactory().get("/x"), 500)


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 405, 408, 409, 413, 418, 422, 429, 499, 500, 502, 503, 599]
)
def test_every_status_has_a_sentence_and_a_title(status: int) -> None:
    document = json.loads(problem(RequestFactory().get("/x"), status).content)
    assert document["detail"].endswith(".")
    assert document["title"]
    assert document["status"] == status


@pytest.mark.parametrize(
    ("path", "expected"), [((), ""), (("total",), "/total"), (("lines", 0, "a/b~c"), "/lines/0/a~1b~0c")]
)
def test_pointers_are_escaped(path: tuple[object, ...], expected: str) -> None:
    assert pointer(path) == expected
