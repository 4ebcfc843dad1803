"""kill -9 of a gunicorn worker between the append and the answer: the caller's second try has the first one's answer."""

import http.client
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.acceptance.caller import Answer, Caller
from tests.acceptance.processes import Process, children_of
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
ORDER = {"customer_id": "ada", "total": "10.00"}
KEY = {"Idempotency_Key": "once"}
GATE = 4711

# The answer is stored after the append, so who waits here has appended and not committed.
CLOSE_GATE = f"""
CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$;
CREATE TRIGGER gate BEFORE INSERT ON eventsource_app_idempotencykey
    FOR EACH ROW EXECUTE FUNCTION wait_at_the_gate();
SELECT pg_advisory_lock({GATE});
"""
OPEN_GATE = f"SELECT pg_advisory_unlock({GATE})"
AT_THE_GATE = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
EVENTS = "SELECT count(*), min(aggregate_id::text) FROM eventsource_app_event"


@pytest.fixture
def gate(database: psycopg.Connection[Any]) -> Iterator[None]:
    for statement in CLOSE_GATE.strip().split(";\n"):
        if statement.strip():
            database.execute(statement.encode())
    yield
    database.execute("DROP FUNCTION wait_at_the_gate CASCADE")


def ask_again_until_answered(caller: Caller) -> Answer:
    """As a client does: again and again with the same key, whatever becomes of the connection."""
    answers: list[Answer] = []

    def is_answered() -> bool:
        try:
            answers.append(caller.post("/orders", ORDER, **KEY))
        except (OSError, http.client.HTTPException):
            return False
        return answers[-1].status == 201

    wait_for(is_answered, what="an answer to the second try")
    return answers[-1]


def kill_worker(web: Process) -> None:
    [worker] = children_of(web.pid)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: worker not in children_of(web.pid), what="the worker's end")


def test_killed_before_the_commit_nothing_has_happened(
    gunicorn: Callable[..., Process], port: int, database: psycopg.Connection[Any], gate: None
) -> None:
    web, caller = gunicorn(WEB_CONCURRENCY="1"), Caller(port)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(caller.post, "/orders", ORDER, **KEY)
        wait_for(lambda: database.execute(AT_THE_GATE, (GATE,)).fetchone() == (1,), what="the append")
        kill_worker(web)
        with pytest.raises((OSError, http.client.HTTPException)):
            first.result()
    database.execute(OPEN_GATE)

    answer = ask_again_until_answered(caller)

    assert database.execute(EVENTS).fetchone() == (1, answer.json()["order_id"])
    assert "Idempotency-Replayed" not in answer.headers
    assert caller.post("/orders", ORDER, **KEY).body == answer.body


def test_killed_after_the_commit_the_first_answer_is_given(
    gunicorn: Callable[..., Process], port: int, database: psycopg.Connection[Any]
) -> None:
    gunicorn(WEB_CONCURRENCY="1", DJANGO_SETTINGS_MODULE="tests.acceptance.dying_settings")
    caller = Caller(port)
    with pytest.raises((OSError, http.client.HTTPException)):
        caller.post("/orders", ORDER, X_Die="now", **KEY)
    count, order_id = database.execute(EVENTS).fetchone() or (0, "")
    assert count == 1, "it was committed"

    answer = ask_again_until_answered(caller)

    assert answer.headers["Idempotency-Replayed"] == "true"
    assert answer.headers["Location"] == f"/orders/{order_id}"
    assert answer.json()["order_id"] == order_id
    assert database.execute(EVENTS).fetchone() == (1, order_id)
