"""settings.supervisor: what `make run` asks its own web, by whatever way the machine reaches others."""

import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from eventsource_app.management.child import Child
from eventsource_app.management.stop_request import StopRequest
from settings.local_postgres import PROJECT
from settings.supervisor import own_url, say, stop_with_the_terminal, wait_for_web


class Alive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silence is enough."""


@pytest.fixture
def web_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Alive)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_proxy_that_the_environment_names_is_not_asked_for_our_own_web(
    web_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    never_started = Child("gunicorn", [], {}, PROJECT)  # so the first question must have its answer

    assert wait_for_web(never_started, web_url, StopRequest())


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - only shown
        ("::", "http://[::1]:8000"),
        ("fd00::7", "http://[fd00::7]:8000"),
    ],
)
def test_what_is_printed_can_be_asked_whatever_the_address(address: str, url: str) -> None:
    assert own_url(address, 8000) == url


def test_under_nohup_a_terminal_that_is_closed_stops_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_with_the_terminal(StopRequest())
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nobody_need_read_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            """Nothing was written."""

    monkeypatch.setattr(sys, "stderr", Closed())

    say("Stopping …")
