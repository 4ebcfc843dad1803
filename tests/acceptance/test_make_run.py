"""`make run` as a stranger uses it: real processes, real signals, nothing left behind but the data."""

import os
import signal
import socket
import urllib.request
from pathlib import Path

import psycopg
import pytest

from settings.local_postgres import project_server
from settings.preparation import TRY_LOCK
from tests.acceptance.processes import Run, database_answers, group_is_gone
from tests.waiting import wait_for

pytestmark = pytest.mark.acceptance


def ready(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health/ready", timeout=5).close()  # noqa: S310
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_the_data_stays(data: Path, port: int, number: signal.Signals) -> None:
    server = project_server(data)
    run = Run(data, port)
    run.wait_until_up()
    token = run.token()  # printed a moment after the web answers
    children = run.children()

    run.process.send_signal(number)
    output = run.output()

    assert run.process.returncode == 0, output
    assert f'curl -i {run.url}/orders -H "Authorization: Bearer {token}"' in output
    assert len(children) == 2
    assert all(group_is_gone(child) for child in children)
    assert not database_answers(server)
    assert (server.cluster / "PG_VERSION").exists()


@pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="nohup runs these tests")
def test_a_terminal_that_is_closed_stops_everything_too(data: Path, port: int) -> None:
    server = project_server(data)
    run = Run(data, port)
    run.wait_until_up()
    children = run.children()

    run.process.send_signal(signal.SIGHUP)
    output = run.output()

    assert run.process.returncode == 0, output
    assert all(group_is_gone(child) for child in children)
    assert not database_answers(server)


def test_two_at_once_on_one_new_database_both_run(data: Path, port: int) -> None:
    server = project_server(data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        another = int(probe.getsockname()[1])

    runs = [Run(data, port), Run(data, another)]
    for run in runs:
        run.wait_until_up()
    for run in runs:
        run.process.send_signal(signal.SIGTERM)

    assert [run.wait() for run in runs] == [0, 0]
    assert not database_answers(server)


def test_a_stop_while_another_one_prepares_the_database_is_heard(
    data: Path, port: int, database_url: str
) -> None:
    # Of the supervisor's own session: earlier tests' connections may be idle after a ROLLBACK too.
    asked = "SELECT count(*) FROM pg_stat_activity WHERE query = 'ROLLBACK' AND backend_start > %s"
    with psycopg.connect(database_url) as another, psycopg.connect(database_url, autocommit=True) as judge:
        another.execute(TRY_LOCK)
        began = judge.execute("SELECT clock_timestamp()").fetchone()
        run = Run(data, port, DATABASE_URL=database_url)
        wait_for(lambda: judge.execute(asked, began).fetchone() != (0,), what="its turn")
        run.process.send_signal(signal.SIGTERM)
        assert run.output() == "Stopped.\n"
    assert run.process.returncode == 0


def test_a_postgresql_that_is_killed_is_started_again(data: Path, port: int) -> None:
    server = project_server(data)
    run = Run(data, port)
    run.wait_until_up()
    postmaster = int((server.cluster / "postmaster.pid").read_text().split("\n", 1)[0])

    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: "started again" in run.text(), what="the sentence")
    wait_for(lambda: ready(run.url), what="web that reaches the database")
    run.process.send_signal(signal.SIGTERM)

    assert "PostgreSQL had died and was started again" in run.output()
    assert run.process.returncode == 0
    assert not database_answers(server)


def test_killing_the_supervisor_takes_its_children_along(data: Path, port: int) -> None:
    run = Run(data, port)
    run.wait_until_up()
    children = run.children()

    run.process.kill()
    run.wait()

    wait_for(lambda: all(group_is_gone(child) for child in children), seconds=20)


def test_a_taken_port_is_one_sentence(data: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        run = Run(data, port)
        output = run.output()

    assert run.process.returncode == 1
    assert output.count("\n") == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in output
    assert "make run PORT=" in output


def test_a_database_that_does_not_answer_is_one_sentence(data: Path, port: int) -> None:
    run = Run(data, port, DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    output = run.output()

    assert run.process.returncode == 1
    assert "Traceback" not in output
    assert "The database does not answer" in output
