"""gunicorn is reloaded, recycled and stopped under load: no request is lost, none is carried out twice."""

import http.client
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.acceptance.caller import Caller
from tests.acceptance.processes import Process, children_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
CLIENTS = 4
Gunicorn = Callable[..., Process]


class Load:
    """Clients that place orders one after another, each with a key, until they are told to stop."""

    def __init__(self, port: int) -> None:
        self.told: dict[str, str] = {}  # key -> order id, for every 201
        self.unanswered: list[str] = []
        self.others: list[tuple[int, bytes]] = []
        self._callers = [Caller(port) for _ in range(CLIENTS)]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._place, args=(caller,)) for caller in self._callers]
        for thread in self._threads:
            thread.start()

    def wait_for_more(self, count: int = 40) -> None:
        """Wait until so many more were answered."""
        goal = len(self.told) + count
        wait_for(lambda: len(self.told) >= goal or self.others or self.unanswered, what="more orders")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask_again(self) -> None:
        """What got no answer is sent again with its key, as a careful client does."""
        for key in self.unanswered:
            answer = self._callers[0].post("/orders", body_of(key), Idempotency_Key=key)
            assert answer.status == 201, answer.body
            self.told[key] = answer.json()["order_id"]

    def _place(self, caller: Caller) -> None:
        while not self._stop.is_set():
            key = uuid4().hex
            try:
                answer = caller.post("/orders", body_of(key), Idempotency_Key=key)
            except (OSError, http.client.HTTPException):
                self.unanswered.append(key)
                if self._stop.wait(0.05):
                    return
                continue
            if answer.status == 201:
                self.told[key] = answer.json()["order_id"]
            else:
                self.others.append((answer.status, answer.body))


def body_of(key: str) -> dict[str, str]:
    return {"customer_id": key, "total": "10.00"}


@pytest.fixture
def load(port: int) -> Iterator[Callable[[], Load]]:
    started: list[Load] = []

    def start() -> Load:
        started.append(Load(port))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def assert_each_once(database: psycopg.Connection[Any], load: Load) -> None:
    """The log has just the orders that the clients were told of."""
    rows = database.execute(
        "SELECT data->>'customer_id', aggregate_id::text FROM eventsource_app_event WHERE event_type = 'OrderCreated'"
    ).fetchall()
    assert len(rows) == len(load.told)
    assert dict(rows) == load.told


def test_a_reload_under_load_loses_nothing(
    gunicorn: Gunicorn, port: int, load: Callable[[], Load], database: psycopg.Connection[Any]
) -> None:
    web = gunicorn()
    before = set(children_of(web.pid))
    orders = load()
    orders.wait_for_more()
    for _ in range(2):
        workers = set(children_of(web.pid))
        web.signal(signal.SIGHUP)
        wait_for(lambda: workers.isdisjoint(children_of(web.pid)), what="new workers")  # noqa: B023
        orders.wait_for_more()
    orders.stop()

    assert before.isdisjoint(children_of(web.pid))
    assert (orders.unanswered, orders.others) == ([], [])
    assert_each_once(database, orders)


def test_recycled_workers_lose_nothing(
    gunicorn: Gunicorn, load: Callable[[], Load], database: psycopg.Connection[Any]
) -> None:
    web = gunicorn("--max-requests", "40", "--max-requests-jitter", "20")
    first = set(children_of(web.pid))
    orders = load()
    wait_for(lambda: first.isdisjoint(children_of(web.pid)) or orders.others, what="all workers recycled")
    orders.wait_for_more()
    orders.stop()

    assert (orders.unanswered, orders.others) == ([], [])
    assert_each_once(database, orders)


def test_a_graceful_stop_answers_what_it_took_and_the_rest_can_be_sent_again(
    gunicorn: Gunicorn, load: Callable[[], Load], database: psycopg.Connection[Any]
) -> None:
    web = gunicorn()
    orders = load()
    orders.wait_for_more()
    web.signal(signal.SIGTERM)
    assert web.wait() == 0, web.text()
    wait_for(lambda: orders.unanswered, what="clients that find nobody")
    orders.stop()
    assert orders.others == []
    taken = {row[0] for row in database.execute("SELECT data->>'customer_id' FROM eventsource_app_event")}
    assert taken == set(orders.told), "what was carried out was answered, and the other way round"

    gunicorn()
    orders.ask_again()
    assert_each_once(database, orders)
