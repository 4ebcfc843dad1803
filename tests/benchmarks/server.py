"""The benchmark's own PostgreSQL: thrown away afterwards, durable while it runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connections

from settings import env
from settings.local_postgres import DURABLE
from settings.postgres_server import Server
from settings.throwaway_postgres import running, throwaway_server

DATABASE = "benchmark"
# With the same columns, checks and indexes; its positions come from a sequence of its own.
BARE_TABLE = "CREATE TABLE bare_event (LIKE eventsource_app_event INCLUDING ALL)"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how long to measure: ``seconds`` a sample, ``repetitions`` of each side."""

    server: Server
    seconds: float
    repetitions: int
    quick: bool

    def connect(self, database: str = DATABASE) -> psycopg.Connection[Any]:
        """Open a plain connection in autocommit."""
        return psycopg.connect(self.server.url(database), autocommit=True)

    def add_database(self, name: str) -> None:
        """Make a copy of the empty database and a Django alias of the same name."""
        connections.close_all()
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE empty")
        connections.settings[name] = {**connections.settings["default"], "NAME": name}


@contextmanager
def durable_server() -> Iterator[Server]:
    """Run the server; Django's settings, which are loaded after this, find it in the environment."""
    server = replace(throwaway_server(os.getpid()), settings=DURABLE)
    with running(server):
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        env.provide("TEST_DATABASE_URL", server.url(DATABASE))
        yield server


def prepare(server: Server) -> None:
    """Migrate, add the bare table, and keep an empty copy for workloads that need a database of their own."""
    call_command("migrate", interactive=False, verbosity=0)
    connections.close_all()
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        connection.execute(BARE_TABLE)
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE empty TEMPLATE {DATABASE}")


def facts(server: Server) -> dict[str, object]:
    """Return what the numbers depend on."""
    with psycopg.connect(server.url(DATABASE)) as connection:
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        rows = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    return {name: row[0] for name, row in zip(names, rows, strict=True) if row} | {"cpus": os.cpu_count()}
