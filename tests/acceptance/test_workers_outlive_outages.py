"""The database is away when a worker starts, and goes away while it runs: it waits, says so, and goes on by itself."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settings.env import for_child_process
from settings.local_postgres import project_server
from settings.postgres_server import DATABASE, Server
from tests.acceptance.judge import assert_read_models_tell_the_log, is_caught_up, processed
from tests.acceptance.log_filler import fill
from tests.acceptance.processes import Process
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
Manage = Callable[..., Process]


@pytest.fixture
def server(data: Path) -> Server:
    """A server of the test's own, with an empty database, that the test may stop."""
    server = project_server(data)
    server.ensure_running()
    server.ensure_database()
    return server


@pytest.fixture
def manage(server: Server, tmp_path: Path) -> Iterator[Manage]:
    """Start a `manage.py` command on that server."""
    environment = for_child_process(
        DATABASE_URL=server.url(DATABASE),
        TEST_DATABASE_URL=None,
        DJANGO_SETTINGS_MODULE="settings.base",
        PYTEST_CURRENT_TEST=None,
    )
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        log = tmp_path / f"{len(started)}-{arguments[0]}.log"
        started.append(Process(["manage.py", *arguments], environment, log))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def migrated(manage: Manage) -> None:
    migrate = manage("migrate", "-v", "0")
    assert migrate.wait() == 0, migrate.text()


def probe(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Status and document of a probe; 0 and nothing before the port answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError:
        return 0, {}


def is_ready(port: int) -> bool:
    return probe(port, "/health/ready")[0] == 200


def is_alive(port: int) -> bool:
    status, document = probe(port, "/health/live")
    return status == 200 and document["alive"] is True


def wait_until_caught_up(server: Server) -> None:
    with psycopg.connect(server.url(DATABASE), autocommit=True) as database:
        wait_for(lambda: is_caught_up(database), what="the log's end")


def test_a_worker_that_starts_before_the_database_waits_for_it_and_then_starts_by_itself(
    manage: Manage, server: Server, port: int
) -> None:
    migrated(manage)
    server.stop()

    worker = manage("run_subscriptions", "--probe-port", str(port))
    worker.wait_for_log("Manager waits for the database", count=2)

    status, document = probe(port, "/health/ready")
    assert (status, document["ready"]) == (503, False)
    assert document["reason"] == "waiting for the database, which does not answer"
    assert is_alive(port), "a restart of this process would not help"

    server.ensure_running()
    wait_for(lambda: is_ready(port), what="ready by itself")
    with psycopg.connect(server.url(DATABASE), autocommit=True) as database:
        fill(database, 200)
    wait_until_caught_up(server)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.text()


def test_a_stop_while_it_waits_is_clean(manage: Manage, server: Server) -> None:
    server.stop()
    worker = manage("run_subscriptions")
    worker.wait_for_log("Manager waits for the database")

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 0, worker.text()
    (complete,) = worker.logs("Shutdown complete")
    assert (complete["phase"], complete["reason"], complete["forced"]) == ("stopped", "SIGTERM", False)
    assert "Traceback" not in worker.text()


def test_a_database_without_its_tables_is_a_sentence_and_a_failure(manage: Manage, server: Server) -> None:
    worker = manage("run_subscriptions")
    assert worker.wait() == 1, worker.text()
    assert "migrations are not applied" in worker.text().splitlines()[-1]
    assert "manage.py migrate" in worker.text().splitlines()[-1]
    assert "Traceback" not in worker.text()


def test_a_database_that_goes_away_for_a_while_costs_nothing_but_time(
    manage: Manage, server: Server, port: int
) -> None:
    migrated(manage)
    worker = manage("run_subscriptions", "--probe-port", str(port))
    wait_for(lambda: is_ready(port), what="ready at first")
    with psycopg.connect(server.url(DATABASE), autocommit=True) as database:
        fill(database, 40_000)
        wait_for(
            lambda: min(processed(database).values(), default=0) > 1_000, what="the middle of a catch-up"
        )
        assert not is_caught_up(database)

    server.stop("immediate")
    wait_for(lambda: not is_ready(port), what="not ready")
    worker.wait_for_log("Reader waits for the database", count=3)  # connections are refused again and again
    worker.wait_for_log("Subscription waits for the database", count=2)
    assert is_alive(port)
    assert probe(port, "/health/ready")[0] == probe(port, "/health")[0] == 503
    server.ensure_running()

    wait_for(lambda: is_ready(port), what="ready again")
    with psycopg.connect(server.url(DATABASE), autocommit=True) as database:
        fill(database, 400)
        wait_until_caught_up(server)
        assert_read_models_tell_the_log(database)
        assert processed(database) == {"orders": 40_400, "customers": 40_400 * 5 // 8}
        letters = database.execute("SELECT count(*) FROM eventsource_app_deadletter").fetchone()
    assert letters == (0,)
    assert worker.running
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.text()
