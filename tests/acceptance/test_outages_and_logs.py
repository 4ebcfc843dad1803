"""Web and worker through outages of their database: the probes say so and recover, and every line of the logs is clean."""

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settings.env import for_child_process
from settings.local_postgres import project_server
from settings.postgres_server import Server
from tests.acceptance.log_judge import assert_every_line_is_well_told
from tests.acceptance.processes import Process, answers, children_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
HEALTH, READY, LIVE = "/health", "/health/ready", "/health/live"
PASSWORD, SECRET_KEY = "the-database-password-b1946ac9", "the-secret-key-591785b794601e212b260e25925636fd"
IN_A_BODY, IN_A_QUERY = "poison-ada@example.com", "query-591785b7"


@dataclass
class Site:
    """gunicorn and one worker on a server of their own, whose password is in the URL (and which trusts anybody)."""

    server: Server
    url: str
    web: Process
    worker: Process
    token: str

    def status(self, path: str) -> int:
        return self.ask(path)[0]

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310
            self.url + path, data, {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return int(answer.status), dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return error.code, dict(json.load(error))

    def order(self, customer: str, **headers: str) -> tuple[int, dict[str, Any]]:
        given = {"Authorization": f"Bearer {self.token}", **headers}
        return self.ask("/orders", {"customer_id": customer, "total": "10.00"}, **given)

    def wait_until(self, status: int) -> None:
        """Wait until both probes that look at the database answer so; the third one never does anything but 200."""

        def both_are() -> bool:
            assert self.status(LIVE) == 200
            return (self.status(HEALTH), self.status(READY)) == (status, status)

        wait_for(both_are, what=f"{HEALTH} and {READY} to be {status}")

    def stop(self) -> list[dict[str, Any]]:
        """Stop both gracefully; judge and return the lines of their logs."""
        for process in (self.web, self.worker):
            process.signal(signal.SIGTERM)
        assert [self.web.wait(), self.worker.wait()] == [0, 0]
        secrets = (PASSWORD, SECRET_KEY, self.token, IN_A_BODY, IN_A_QUERY)
        return assert_every_line_is_well_told(self.web.text() + self.worker.text(), secrets)


def send(number: signal.Signals, server: Server) -> None:
    """Send it to every process of the server, if it runs."""
    file = server.cluster / "postmaster.pid"
    if not file.exists():
        return
    postmaster = int(file.read_text().split()[0])
    for pid in (postmaster, *children_of(postmaster)):
        os.kill(pid, number)


@pytest.fixture
def site(data: Path, port: int, tmp_path: Path) -> Iterator[Site]:
    server = project_server(data)
    server.ensure_running()
    server.ensure_database()
    address = server.url().replace("@", f":{PASSWORD}@", 1)
    environment = for_child_process(
        DATABASE_URL=address,
        TEST_DATABASE_URL=None,
        SECRET_KEY=SECRET_KEY,
        PORT=str(port),
        DJANGO_SETTINGS_MODULE="settings.base",
        DEBUG="false",
    )

    def start(name: str, *command: str) -> Process:
        return Process(list(command), environment, tmp_path / f"{name}.log")

    assert start("migrate", "manage.py", "migrate", "--verbosity", "0").wait() == 0
    token = start("token", "manage.py", "api_token", "create", "test", "--json")
    assert token.wait() == 0, token.text()
    made = json.loads(next(line for line in token.text().splitlines() if line.startswith('{"token"')))
    web = start("web", "-m", "gunicorn", "--config", "python:settings.gunicorn")
    worker = start("worker", "manage.py", "run_subscriptions", "--no-reload")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(url) or not web.running, what="gunicorn")
        yield Site(server, url, web, worker, str(made["token"]))
    finally:
        send(signal.SIGCONT, server)
        web.kill()
        worker.kill()


def test_the_probes_follow_the_database_away_and_back_and_live_stays(site: Site) -> None:
    site.wait_until(200)

    site.server.stop("immediate")
    site.wait_until(503)
    assert site.order("ada")[0] == 503
    site.server.ensure_running()
    site.wait_until(200)

    send(signal.SIGSTOP, site.server)
    for _ in range(3):  # further probes leave nothing behind and are told at once
        for path in (HEALTH, READY):
            status, document = site.ask(path)
            assert (status, document["reason"]) == (503, "the database did not answer within 1.6 seconds")
        assert site.status(LIVE) == 200
    send(signal.SIGCONT, site.server)
    site.wait_until(200)

    assert site.order("ada")[0] == 201
    lines = site.stop()
    assert {"Reader waits for the database", "Shutdown complete"} <= {line["message"] for line in lines}


def test_the_logs_tell_of_a_request_and_its_failing_projection_by_one_id_and_no_secrets(site: Site) -> None:
    with psycopg.connect(site.server.url(), autocommit=True) as database:
        database.execute(
            "ALTER TABLE projections_ordersummary ADD CONSTRAINT no_poison CHECK (customer_id NOT LIKE 'poison%')"
        )
    given = {"X-Request-ID": "request-of-ada", "Idempotency-Key": "key-1"}
    assert [site.order(IN_A_BODY, **given)[0] for _ in range(2)] == [201, 201]
    assert site.ask("/orders", {"customer_id": IN_A_BODY}, Authorization=f"Bearer {site.token}x")[0] == 401
    assert site.ask("/orders", {"customer_id": IN_A_BODY}, Authorization=f"Bearer {site.token}")[0] == 422
    assert site.ask("/orders", IN_A_BODY.encode(), Authorization=f"Bearer {site.token}")[0] == 400
    assert site.ask(f"/nothing?customer={IN_A_QUERY}")[0] == 404
    site.worker.wait_for_log("Event parked", subscription="orders")
    _, health = site.ask(HEALTH)
    assert IN_A_BODY not in json.dumps(health)

    lines = site.stop()

    requests = [line for line in lines if line["logger"] == "gunicorn.access" and line["path"] == "/orders"]
    assert [line["correlation_id"] for line in requests[:2]] == ["request-of-ada"] * 2
    failures = [line for line in lines if line["message"] in ("Subscription error", "Event parked")]
    assert {line["message"] for line in failures} == {"Subscription error", "Event parked"}
    for line in failures:
        assert line["correlation_id"] == "request-of-ada"
        assert line["event_type"] == "OrderCreated"
        assert "no_poison" in line["error_message"]
