"""Fixtures of the acceptance tests: a data folder, a port, workers that never outlive their test."""

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from settings.local_postgres import project_server
from tests.acceptance.processes import Process, answers
from tests.waiting import wait_for

Manage = Callable[..., Process]
Gunicorn = Callable[..., Process]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def data() -> Iterator[Path]:
    # Not tmp_path: pytest's folders are closed to `nobody`, who runs the server for root.
    folder = Path(f"/var/tmp/eventsource-acceptance-{os.getpid()}")  # noqa: S108
    folder.mkdir(mode=0o755)
    server = project_server(folder)
    yield folder
    server.stop("immediate")
    shutil.rmtree(folder)
    shutil.rmtree(server.sockets, ignore_errors=True)


@pytest.fixture
def manage(process_environment: dict[str, str], tmp_path: Path) -> Iterator[Manage]:
    """Start a `manage.py` command on this test's database: manage("run_subscriptions", "orders", LOG_LEVEL="DEBUG")."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        log = tmp_path / f"{arguments[0]}-{uuid.uuid4()}.log"
        process = Process(["manage.py", *arguments], {**process_environment, **environment}, log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A plain connection to this test's database, in autocommit: the judge's."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def gunicorn(process_environment: dict[str, str], port: int, tmp_path: Path) -> Iterator[Gunicorn]:
    """Start gunicorn on this test's database and port, with more arguments and variables, and wait until it answers."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        command = ["-m", "gunicorn", "--config", "python:settings.gunicorn", *arguments]
        variables = {**process_environment, "PORT": str(port), **environment}
        started.append(Process(command, variables, tmp_path / "gunicorn.log"))
        wait_for(lambda: answers(f"http://127.0.0.1:{port}") or not started[-1].running, what="gunicorn")
        assert started[-1].running, started[-1].text()
        return started[-1]

    yield start
    for process in started:
        process.kill()
