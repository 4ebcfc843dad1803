"""An order goes all the way: HTTP, log, worker, read model; with the worker killed in the middle."""

import json
import os
import random
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from settings.local_postgres import project_server
from tests.acceptance.judge import (
    assert_read_models_tell_the_log,
    folded,
    is_caught_up,
    last_position,
    positions,
)
from tests.acceptance.processes import Run, database_answers, lives, living_in_session
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
ORDERS, CLIENTS, CUSTOMERS = 500, 5, 23

# What a client was told: order id -> (customer, total, status).
Told = dict[str, tuple[str, str, str]]


@pytest.fixture
def run(data: Path, port: int) -> Iterator[Run]:
    run = Run(data, port)
    yield run
    run.kill()


class Api:
    """The order API as a caller with a token uses it; any answer but 2xx raises."""

    def __init__(self, run: Run) -> None:
        self._url = run.url
        self._headers = {"Authorization": f"Bearer {run.token()}", "Content-Type": "application/json"}

    def post(self, path: str, **body: str) -> dict[str, Any]:
        return self._ask("POST", path, json.dumps(body).encode())

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        request = urllib.request.Request(self._url + path, body, self._headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return dict(json.load(answer))


def shop(api: Api, client: int, halfway: Event) -> Told:
    """One client: places its share of the orders and takes some of them further."""
    chance, told = random.Random(client), dict[str, tuple[str, str, str]]()
    for number in range(ORDERS // CLIENTS):
        if number == ORDERS // CLIENTS // 2:
            halfway.set()
        customer, total = f"cust-{chance.randrange(CUSTOMERS)}", f"{chance.randrange(1, 100_000) / 100:.2f}"
        order = api.post("/orders", customer_id=customer, total=total)
        status, fate = "created", chance.random()
        if fate < 0.25:
            status = api.post(f"/orders/{order['order_id']}/cancel", reason="changed my mind")["status"]
        elif fate < 0.6:
            status = api.post(f"/orders/{order['order_id']}/ship", tracking_number=f"T-{number}")["status"]
        if 0.25 <= fate < 0.4:
            status = api.post(f"/orders/{order['order_id']}/deliver")["status"]
        told[order["order_id"]] = (customer, total, status)
    return told


def worker_pids(database: psycopg.Connection[Any]) -> set[int]:
    return {row[0] for row in database.execute("SELECT pid FROM eventsource_app_workerheartbeat")}


def kill_the_worker(run: Run, database: psycopg.Connection[Any]) -> int:
    """SIGKILL the worker that `make run` started, known by its heartbeat, once it has handled something."""
    wait_for(lambda: min(positions(database).values(), default=0) > 1, what="the worker's first commit")
    (pid,) = worker_pids(database) & set(run.children())
    os.kill(pid, signal.SIGKILL)
    return pid


def test_500_orders_end_up_in_the_read_models_and_nothing_is_left_running(run: Run, data: Path) -> None:
    run.wait_until_up()
    server, halfway, api = project_server(data), Event(), Api(run)
    with psycopg.connect(server.url(), autocommit=True) as database:
        with ThreadPoolExecutor(CLIENTS) as clients:
            shares = [clients.submit(shop, api, client, halfway) for client in range(CLIENTS)]
            assert halfway.wait(120)
            killed = kill_the_worker(run, database)
            assert not all(share.done() for share in shares), (
                "the worker was to be killed while orders came in"
            )
            told: Told = {}
            for share in shares:
                told |= share.result()

        wait_for(lambda: is_caught_up(database), seconds=120, what="catching up after the kill")

        orders, _ = folded(database)
        said = {key: (customer, str(total), status) for key, (customer, total, status, *_) in orders.items()}
        assert said == told, "what a client was told is in the log, and nothing else is"
        assert len(told) == ORDERS
        assert_read_models_tell_the_log(database)
        assert killed not in run.children()
        assert f"run_subscriptions ended with status {-signal.SIGKILL}" in run.text()
        check_the_answers(api, database)

    server_pid = int((server.cluster / "postmaster.pid").read_text().split()[0])
    run.signal(signal.SIGTERM)
    assert run.wait() == 0, run.text()
    assert living_in_session(run.pid) == []
    assert not database_answers(server)
    assert not lives(server_pid)


def check_the_answers(api: Api, database: psycopg.Connection[Any]) -> None:
    """What HTTP answers is what the log says, for some orders of each status and for every customer."""
    orders, customers = folded(database)
    for order_id in sorted(orders)[::25]:
        answer, (customer, total, status, tracking, version, position) = (
            api.get(f"/orders/{order_id}"),
            orders[order_id],
        )
        assert answer == {
            "order_id": order_id,
            "customer_id": customer,
            "total": str(total),
            "status": status,
            "tracking_number": tracking,
            "version": version,
            "position": position,
        }
    for customer_id, (count, spent) in customers.items():
        assert api.get(f"/customers/{customer_id}") == {
            "customer_id": customer_id,
            "order_count": count,
            "total_spent": f"{spent:.2f}",
        }
    assert last_position(database) > ORDERS
