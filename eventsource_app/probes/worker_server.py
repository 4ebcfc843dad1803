"""The three probes of a worker process, on a port of its own: the answers come from its loops, not from this thread."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from django.db import DatabaseError, InterfaceError

from eventsource_app.probes.bounded import DatabaseHangsError, ask
from eventsource_app.subscriptions.health import HealthReport, LivenessReport, ReadinessReport

AnyReport = HealthReport | LivenessReport | ReadinessReport


class Probed(Protocol):
    """What the probes ask: a ``SubscriptionManager``."""

    def health_check(self) -> HealthReport: ...
    def readiness_check(self) -> ReadinessReport: ...
    def liveness_check(self) -> LivenessReport: ...


class WorkerProbes:
    """Serves ``/health``, ``/health/ready`` and ``/health/live`` until ``close``; raises ``OSError`` for a taken port."""

    def __init__(self, manager: Probed, address: str, port: int, using: str = "default") -> None:
        self._server = ThreadingHTTPServer((address, port), _handler_for(manager, using))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


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
            report = answer(manager, using, self.path.partition("?")[0].rstrip("/"))
            body = (
                report.model_dump_json()
                if report
                else '{"detail":"There are /health, /health/ready and /health/live."}'
            )
            self.send_response(report.http_status if report else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body.encode())

        do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

        def log_message(self, *args: Any) -> None:
            """A probe every few seconds is no news."""

    return Handler
