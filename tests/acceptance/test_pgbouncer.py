"""Web and workers behind a real PgBouncer in transaction mode: DB_POOLER=transaction is all that has to be said."""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from django.db import connection

from settings.local_postgres import PROJECT
from tests.acceptance.conftest import Gunicorn, Manage
from tests.acceptance.judge import assert_read_models_tell_the_log, folded, is_caught_up
from tests.pgbouncer import SESSIONS, pgbouncer, program
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        program() is None, reason="pgbouncer is not installed (Debian's package pgbouncer has it)"
    ),
]
NAME = "behind-a-pooler"
HTTP_ORDERS, WRITERS, ORDERS_EACH = 40, 3, 60
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def pooled(database_url: str) -> Iterator[dict[str, str]]:
    """The environment of whoever connects through the pooler."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with pgbouncer(database_url, port) as url:
        yield {"DATABASE_URL": url, "DB_POOLER": "transaction", "SERVICE_NAME": NAME}


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def place_order(url: str, token: str, number: int) -> int:
    """Place one over HTTP and read it back as soon as the read model has it; return the read's status."""
    body = json.dumps({"customer_id": f"customer-{number % 5}", "total": "12.50"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/orders", body, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        receipt = json.load(response)
    own = urllib.request.Request(  # noqa: S310
        f"{url}/orders/{receipt['order_id']}?wait_for={receipt['position']}", headers=headers
    )
    with urllib.request.urlopen(own, timeout=60) as response:  # noqa: S310
        return int(response.status)


def test_orders_reach_the_read_models_through_it(
    pooled: dict[str, str], process_environment: dict[str, str], gunicorn: Gunicorn, manage: Manage,
    database: psycopg.Connection[Any], port: int,
) -> None:  # fmt: skip
    token = run({**process_environment, **pooled}, "api_token", "create", "pooled").stdout.strip()
    web = gunicorn(**pooled, WEB_THREADS="12", API_WAIT_SECONDS="30")
    workers = [manage("run_subscriptions", **pooled) for _ in range(2)]
    writers = [
        manage("place_orders", str(ORDERS_EACH), "--seed", str(seed), **pooled) for seed in range(WRITERS)
    ]

    with ThreadPoolExecutor(6) as clients:
        url = f"http://127.0.0.1:{port}"
        statuses = set(clients.map(lambda number: place_order(url, token, number), range(HTTP_ORDERS)))

    assert statuses == {200}
    assert [writer.wait() for writer in writers] == [0] * WRITERS, writers[0].text()
    # Appenders and readers shared the sessions, so a fence that belonged to one would have lost events.
    wait_for(lambda: is_caught_up(database), what="the read models")
    assert len(folded(database)[0]) == HTTP_ORDERS + WRITERS * ORDERS_EACH
    assert_read_models_tell_the_log(database)
    assert _sessions(database) <= SESSIONS
    for process in (web, *workers):
        assert not process.logs(level="ERROR") + process.logs(level="WARNING"), process.text()


def test_what_is_lost_is_said_and_can_be_given_back_to_the_role(
    pooled: dict[str, str], process_environment: dict[str, str], database: psycopg.Connection[Any]
) -> None:
    environment = {**process_environment, **pooled}
    before = _items(environment)
    for name in LIMITS:
        database.execute(f"ALTER DATABASE \"{connection.settings_dict['NAME']}\" SET {name} = '30s'")
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                     " AND pid <> pg_backend_pid()")  # fmt: skip
    after = _items(environment)
    for name in LIMITS:
        database.execute(f'ALTER DATABASE "{connection.settings_dict["NAME"]}" RESET {name}')

    assert "workers poll instead of hearing of events at once" in before["pooler"]["sentence"]
    assert "SET statement_timeout = '30s'" in before["statement_timeout"]["sentence"]
    assert {
        after[item]["verdict"]
        for item in ("statement_timeout", "lock_timeout", "idle_in_transaction_timeout")
    } == {"ok"}


def test_without_the_variable_one_sentence_names_it(
    pooled: dict[str, str], process_environment: dict[str, str]
) -> None:
    result = run({**process_environment, **pooled, "DB_POOLER": "none"}, "subscription_status")

    assert result.returncode == 1
    assert (
        result.stderr.strip().splitlines()[-1].endswith("a pooler stands between: set DB_POOLER=transaction.")
    )


def _items(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    document = json.loads(run(environment, "readiness_report", "--json").stdout)
    return {item["id"]: item for item in document["items"]}


def _sessions(database: psycopg.Connection[Any]) -> int:
    """How many sessions the pooler has opened: whoever comes without it has another name."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    )
    row = database.execute(query, [NAME]).fetchone()
    assert row is not None
    return int(row[0])
