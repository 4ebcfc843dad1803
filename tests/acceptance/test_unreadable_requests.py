"""What never becomes a request is answered by gunicorn itself: as a problem document too, and the service goes on."""

import json
import socket
from collections.abc import Callable

import pytest

from tests.acceptance.caller import Caller
from tests.acceptance.processes import Process

pytestmark = [pytest.mark.acceptance]
HOST = b"Host: localhost\r\n"
UNREADABLE = {
    "a request line without end": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a header without end": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
    "headers without number": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 500 + b"\r\n", 431),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", 400),
    "a NUL in a header": (b"GET /orders HTTP/1.1\r\n" + HOST + b"If-Match: a\0b\r\n\r\n", 400),
    "two lengths": (
        b"POST /orders HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        400,
    ),
    "a length that is none": (b"POST /orders HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n", 400),
}


def send(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass  # it had more to read than it wanted
        return answer


def test_each_is_a_problem_document(gunicorn: Callable[..., Process], port: int) -> None:
    gunicorn(WEB_CONCURRENCY="1")
    for name, (request, status) in UNREADABLE.items():
        head, _, body = send(port, request).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), (name, head)
        assert b"Content-Type: application/problem+json" in head, name
        document = json.loads(body)
        assert {"type", "title", "status", "detail", "instance", "correlation_id"} == set(document)
        assert document["status"] == status
    assert Caller(port).get("/orders").status == 200


def test_a_header_cannot_say_where_the_application_begins(
    gunicorn: Callable[..., Process], port: int
) -> None:
    gunicorn(WEB_CONCURRENCY="1")
    for name in (b"SCRIPT_NAME", b"PATH_INFO"):
        request = b"GET /health/live HTTP/1.1\r\n" + HOST + name + b": /nowhere\r\n\r\n"
        assert send(port, request).startswith(b"HTTP/1.1 200 "), name
