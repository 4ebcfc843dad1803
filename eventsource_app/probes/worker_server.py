"""Probes and metrics of a worker process, on a port of its own: what is alive is said by its loops, not by this thread."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from django.db import DatabaseError, InterfaceError

from eventsource_app.probes.bounded import DatabaseHangsError, ask
from eventsource_app.probes.exposition import CONTENT_TYPE, process_metrics_text
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.health import HealthReport, LivenessReport, ReadinessReport

JSON = "application/json"
NOT_FOUND = b'{"detail":"There are /health, /health/ready, /health/live and /metrics."}'

AnyReport = HealthReport | LivenessReport | ReadinessReport


class Probed(Protocol):
    """What the probes ask: a ``SubscriptionManager``."""

    def health_check(self) -> HealthReport: ...
    def readiness_check(self) -> ReadinessReport: ...
    def liveness_check(self) -> LivenessReport: ...


class WorkerProbes:
    """Serves ``/health``, ``/health/ready``, ``/health/live`` and ``/metrics`` until ``close``.

    Raises ``OSError`` for a taken port.
    """

    def __init__(self, manager: Probed, address: str, port: int, using: str | None = None) -> None:
        using = using or log_database()
        self._server = _server_for(address)((address, port), _handler_for(manager, using))
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server_for(address: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        # The library's server takes IPv4 only, and a cluster may have nothing but IPv6.
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    return Server


def answer(manager: Probed, using: str, path: str) -> AnyReport | None:
    """Return the document of a path; ``None`` for any other path. Only liveness does not ask the database."""
    if path == "/health/live":
        return manager.liveness_check()
    try:
        if path == "/health":
            return ask(manager.health_check, using)
        if path == "/health/ready":
            return ask(manager.readiness_check, using)
    except DatabaseHangsError as error:
        return _away(path, str(error))
    except (DatabaseError, InterfaceError) as error:
        return _away(path, f"the database does not answer ({type(error.__cause__ or error).__name__})")
    return None


def _away(path: str, reason: str) -> AnyReport:
    if path == "/health":
        return HealthReport.unavailable(reason)
    return ReadinessReport(ready=False, reason=reason, details={"database": "unavailable"})


def _handler_for(manager: Probed, using: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # a client that sends nothing must not keep a thread

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if path == "/metrics":
                self._send(200, CONTENT_TYPE, process_metrics_text())
                return
            report = answer(manager, using, path)
            if report is None:
                self._send(404, JSON, NOT_FOUND)
                return
            self._send(report.http_status, JSON, report.model_dump_json().encode())

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _refuse(self) -> None:
            self.send_response(405)
            self.send_header("Allow", "GET, HEAD")
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")  # what follows may be a body
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the names that the server looks for
        do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """A probe every few seconds is no news."""

    return Handler
