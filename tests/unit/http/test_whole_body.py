"""Bodies: read to their length, or where the server ends them, not further than allowed, and left alone everywhere else."""

from io import BytesIO
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest
from django.http import UnreadablePostError
from django.test import RequestFactory

from eventsource_app.http.whole_body import read_to_its_end

LIMIT = 100


@pytest.fixture(autouse=True)
def _limit(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT


def _request(source: Any, **environ: object) -> WSGIRequest:
    made = RequestFactory().post("/x").environ
    del made["CONTENT_LENGTH"]
    request = WSGIRequest({**made, "wsgi.input": source, **environ})
    read_to_its_end(request)
    return request


def test_it_is_read_where_the_server_ends_it() -> None:
    assert _request(BytesIO(b"{}"), **{"wsgi.input_terminated": True}).body == b"{}"
    assert list(_request(BytesIO(b"a\nb"), **{"wsgi.input_terminated": True})) == [b"a\n", b"b"]


def test_it_is_not_read_where_nobody_ends_it() -> None:
    source = BytesIO(b"the next request")
    assert _request(source).body == b""
    assert source.tell() == 0


def test_no_more_is_read_than_tells_that_it_is_too_much() -> None:
    source = BytesIO(b"x" * 10 * LIMIT)
    with pytest.raises(RequestDataTooBig):
        _ = _request(source, **{"wsgi.input_terminated": True}).body
    assert source.tell() == LIMIT + 1


@pytest.mark.parametrize("error", [ValueError("no chunk"), ConnectionResetError()])
def test_whatever_the_server_finds_wrong_is_unreadable(error: Exception) -> None:
    class Source(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise error

    with pytest.raises(UnreadablePostError):
        _ = _request(Source(), **{"wsgi.input_terminated": True}).body


def test_a_body_that_ends_before_its_length_is_unreadable() -> None:
    for came in (b"", b"{", b"{}"):
        request = RequestFactory().post("/x", b"{} ", content_type="application/json")
        request.environ["wsgi.input"] = BytesIO(came)
        read_to_its_end(request)
        with pytest.raises(UnreadablePostError):
            _ = request.body


def test_of_a_body_with_a_length_no_more_is_read() -> None:
    request = RequestFactory().post("/x", b"{}", content_type="application/json")
    request.environ["wsgi.input"] = source = BytesIO(b"{}the next request")
    read_to_its_end(request)
    assert request.body == b"{}"
    assert source.tell() == 2
