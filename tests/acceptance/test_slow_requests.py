"""Callers whose request never ends: each holds a thread for a few seconds, and the service goes on."""

import socket
import time
from collections.abc import Callable

import pytest

from settings.gunicorn import READ_SECONDS
from tests.acceptance.processes import Process, answers
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
POST = b"POST /orders HTTP/1.1\r\nHost: localhost\r\n"


def test_requests_that_never_end_do_not_take_the_threads_away(
    gunicorn: Callable[..., Process], port: int
) -> None:
    gunicorn(WEB_CONCURRENCY="1", WEB_THREADS="2", API_AUTH="false")
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as half_a_head,
        socket.create_connection(("127.0.0.1", port), timeout=20) as half_a_body,
    ):
        half_a_head.sendall(POST)
        half_a_body.sendall(POST + b"Content-Length: 100\r\n\r\n{")

        wait_for(lambda: answers(f"http://127.0.0.1:{port}"), seconds=3 * READ_SECONDS)

        assert half_a_body.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert half_a_head.recv(65536) == b""
    assert time.monotonic() - began > READ_SECONDS - 1
