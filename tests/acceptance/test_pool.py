"""The connection pool in real processes: told at the start, never shared by a fork."""

import json
import urllib.request
from typing import Any

import pytest

from tests.acceptance.conftest import Gunicorn, Manage
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
BUDGET = {"INSTANCE_COUNT": "3", "MAX_DB_CONNECTIONS": "100"}
PLAN = {"instance_count": 3, "pool_size": 10, "max_overflow": 20, "total_per_instance": 30}


def test_no_process_inherits_a_connection_of_the_parent(gunicorn: Gunicorn, port: int) -> None:
    gunicorn("--preload", "tests.acceptance.preloaded_wsgi:application", WEB_CONCURRENCY="2")
    backends: dict[int, set[int]] = {}

    def both_have_answered() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        assert answer["mine"]["process"] != answer["parent"]["process"]
        assert answer["mine"]["backend"] != answer["parent"]["backend"]
        backends.setdefault(answer["mine"]["process"], set()).add(answer["mine"]["backend"])
        return len(backends) == 2

    wait_for(both_have_answered, what="an answer of both processes")
    first, second = backends.values()
    assert not first & second


def test_the_web_says_once_how_its_connections_are_shared_out(gunicorn: Gunicorn) -> None:
    process = gunicorn(WEB_CONCURRENCY="2", **BUDGET)

    (line,) = process.wait_for_log("Connection pool configuration")
    assert {name: line[name] for name in PLAN} == PLAN
    assert line["processes"] == 2


def test_workers_say_it_once_too(manage: Manage) -> None:
    process = manage("run_subscriptions", "--processes", "2", "--until-caught-up", **BUDGET)
    assert process.wait() == 0, process.text()

    (line,) = process.logs("Connection pool configuration")
    assert {name: line[name] for name in PLAN} == PLAN
    assert line["processes"] == 2
