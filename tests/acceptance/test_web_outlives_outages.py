"""The database goes away under gunicorn: callers get their 503 soon, probes stay up, and it recovers by itself."""

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from settings.local_postgres import project_server
from settings.postgres_server import DATABASE, Server
from tests.acceptance.caller import Answer, Caller
from tests.acceptance.processes import Run
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
ORDER = {"customer_id": "ada", "total": "10.00"}


@pytest.fixture
def run(data: Path, port: int) -> Iterator[Run]:
    run = Run(data, port)
    run.wait_until_up()
    yield run
    run.kill()


def assert_away(answer: Answer) -> None:
    assert answer.status == 503, answer.body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["correlation_id"] == answer.headers["X-Request-ID"]


def test_a_database_that_stops_is_503_in_time_and_comes_back(run: Run, data: Path, port: int) -> None:
    caller, server = Caller(port, run.token()), project_server(data)
    order = caller.post("/orders", ORDER).json()
    server.stop("immediate")
    with ThreadPoolExecutor(8) as callers:  # every worker's every thread may meet it
        for answer in callers.map(lambda _: caller.get("/orders"), range(24)):
            assert_away(answer)
    assert_away(caller.post("/orders", ORDER, Idempotency_Key="during-the-outage"))
    assert caller.get("/health/live").status == 200
    assert caller.get("/health/ready").status == 503

    server.ensure_running()

    wait_for(lambda: served(caller, f"/orders/{order['order_id']}/events"), what="the recovery")
    answer = caller.post("/orders", ORDER, Idempotency_Key="during-the-outage")
    assert answer.status == 201
    wait_for(lambda: served(caller, f"/orders/{answer.json()['order_id']}"), what="the worker's recovery")


def served(caller: Caller, path: str) -> bool:
    try:
        return caller.get(path).status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_pool_that_is_exhausted_is_503_in_time(data: Path, port: int) -> None:
    """One connection, kept by a request that waits for a lock: the others get their 503 within the pool's time-out."""
    run = Run(data, port, WEB_CONCURRENCY="1", DB_POOL_SIZE="1", DB_MAX_OVERFLOW="0", DB_POOL_TIMEOUT="1")
    try:
        run.wait_until_up()
        caller, server = Caller(port, run.token()), project_server(data)
        order = caller.post("/orders", ORDER).json()
        with ThreadPoolExecutor(1) as callers:
            with LockedLog(server):
                path = f"/orders/{order['order_id']}/ship"
                held = callers.submit(caller.post, path, {"tracking_number": "T"})
                wait_for(lambda: somebody_waits(server), what="the request that keeps the connection")
                assert_away(caller.get("/orders"))
            assert held.result().status == 200
        assert caller.get("/orders").status == 200
    finally:
        run.kill()


def test_an_outage_takes_one_thread_and_not_all(data: Path, port: int) -> None:
    """Who comes while another one finds out whether the database is back is answered at once, so probes have a thread."""
    run = Run(data, port, WEB_CONCURRENCY="1", WEB_THREADS="4", DB_POOL_TIMEOUT="1")
    try:
        run.wait_until_up()
        caller, server = Caller(port, run.token()), project_server(data)
        assert caller.get("/orders").status == 200
        server.stop("immediate")
        with ThreadPoolExecutor(8) as callers:
            for answer in callers.map(lambda _: caller.get("/orders"), range(60)):
                assert_away(answer)
        assert caller.get("/health/live").status == 200
        waited = run.logs("Database away", path="/orders")
        assert 1 <= len(waited) < 30, len(waited)

        server.ensure_running()

        wait_for(lambda: served(caller, "/orders"), what="the recovery")
        with ThreadPoolExecutor(8) as callers:
            assert {answer.status for answer in callers.map(lambda _: caller.get("/orders"), range(60))} == {
                200
            }
        assert len(run.logs("Database back")) == 1
    finally:
        run.kill()


class LockedLog:
    """Nobody can append while the block lasts."""

    def __init__(self, server: Server) -> None:
        self._connection = psycopg.connect(server.url(DATABASE))

    def __enter__(self) -> None:
        self._connection.execute("LOCK TABLE eventsource_app_event IN EXCLUSIVE MODE")

    def __exit__(self, *error: object) -> None:
        self._connection.close()


def somebody_waits(server: Server) -> bool:
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO eventsource_app_event%'"
        return connection.execute(query).fetchone() == (1,)
