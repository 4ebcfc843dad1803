"""Serving: the order API under its gunicorn, beside a bare Django view under the same gunicorn; 1, 8 and 32 clients."""

import itertools
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from eventsource_app.http.tokens import create_token
from eventsource_app.testing import run_to_caught_up
from orders.commands import PlaceOrder
from orders.services import place_order
from settings.env import for_child_process
from settings.local_postgres import PROJECT
from tests.benchmarks.load import Outcome, Script, drive, request
from tests.benchmarks.server import DATABASE, Bench
from tests.benchmarks.workload import Sides, at_least, workload

START_SECONDS = 60.0
READABLE = 200
ORDER = json.dumps({"customer_id": "ada", "total": "499.99"}).encode()
TRACKING = json.dumps({"tracking_number": "TRACK-1"}).encode()
BARE_APPLICATION = "django.core.wsgi:get_wsgi_application()"


def shop(token: str, readable: list[UUID]) -> Script:
    """Place an order, ship it, and read one that the read model has; for ever."""
    for order_id in itertools.cycle(readable):
        status, body = yield request("POST", "/orders", ORDER, token)
        assert status == 201, body
        placed = json.loads(body)["order_id"]
        status, body = yield request("POST", f"/orders/{placed}/ship", TRACKING, token)
        assert status == 200, body
        status, body = yield request("GET", f"/orders/{order_id}", token=token)
        assert status == 200, body


def insert() -> Script:
    while True:
        status, body = yield request("POST", "/orders", ORDER)
        assert status == 201, body


@contextmanager
def gunicorn(bench: Bench, settings: str, *application: str) -> Iterator[int]:
    """Run gunicorn with the project's configuration; yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = for_child_process(
        DJANGO_SETTINGS_MODULE=settings,
        DATABASE_URL=bench.server.url(DATABASE),
        TEST_DATABASE_URL=None,
        PORT=str(port),
        DEBUG="false",
        LOG_LEVEL="INFO",
        API_THROTTLE="99999999/min",
    )
    command = [sys.executable, "-m", "gunicorn", "--config", "python:settings.gunicorn", *application]
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_up(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_up(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("gunicorn did not start.")


class Measured:
    """One side: measures when called, and remembers all latencies for the notes."""

    def __init__(self, name: str, port: int, scripts: list[Callable[[], Script]], seconds: float) -> None:
        self._name, self._port, self._scripts, self._seconds = name, port, scripts, seconds
        self._all = Outcome(0.0)
        drive(port, scripts, seconds)  # every worker has its connections and prepared statements

    def __call__(self) -> float:
        outcome = drive(self._port, self._scripts, self._seconds)
        self._all.latencies += outcome.latencies
        self._all.seconds += outcome.seconds
        return outcome.rate

    @property
    def note(self) -> str:
        p50, p99 = (1000 * self._all.percentile(share) for share in (0.5, 0.99))
        return f"{self._name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _serve(bench: Bench, count: int) -> Iterator[Sides]:
    readable = [place_order(PlaceOrder("ada", "1.00")).order_id for _ in range(READABLE)]
    run_to_caught_up("orders")
    token = create_token("benchmark", ("orders:read", "orders:write")).text
    with (
        gunicorn(bench, "settings.base") as ours,
        gunicorn(bench, "tests.benchmarks.bare_site", BARE_APPLICATION) as bare,
    ):
        sides = (
            Measured("ours", ours, [lambda: shop(token, readable)] * count, bench.seconds),
            Measured("bare", bare, [insert] * count, bench.seconds),
        )
        yield Sides(*sides, notes=lambda: [side.note for side in sides])


def _register(count: int) -> None:
    workload(
        f"serve-{count}",
        title=f"create, ship, get: {count} client{'s' if count > 1 else ''}",
        reference="a bare Django view with one INSERT, same gunicorn",
        unit="requests/s",
        goal=at_least(0.5),
    )(lambda bench: _serve(bench, count))


for clients in (1, 8, 32):
    _register(clients)
