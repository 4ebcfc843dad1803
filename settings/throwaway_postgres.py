"""A PostgreSQL for one test run: fast, without durability, gone afterwards.

Its folder is locked by the run that uses it. A run that was killed leaves folder and server behind but
no lock; the next run sweeps them away.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from settings.postgres_binaries import server_user
from settings.postgres_server import Server

PARENT = Path("/tmp")  # noqa: S108 -- short, for the socket's path; the name carries the run's pid
PREFIX = "eventsource-test-"
FAST = (
    "max_connections=200",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "autovacuum_naptime=10s",
)


def throwaway_server(pid: int) -> Server:
    """Return the server for the test run with process id *pid*; nothing is started yet."""
    home = PARENT / f"{PREFIX}{os.geteuid()}-{pid}"
    return Server(home, home, server_user(), FAST)


@contextmanager
def running(server: Server) -> Iterator[str]:
    """Run *server* for the length of the block, then remove every trace of it."""
    sweep()
    server.make_folders()
    with (server.home / "run.lock").open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            server.ensure_running()
            yield server.url("postgres")
        finally:
            remove(server)


def sweep() -> None:
    """Stop and remove what killed test runs of this user have left behind."""
    for home in PARENT.glob(f"{PREFIX}{os.geteuid()}-*"):
        server = Server(home, home, server_user(), FAST)
        with _lock_if_abandoned(home) as abandoned:
            if abandoned:
                remove(server)


@contextmanager
def _lock_if_abandoned(home: Path) -> Iterator[bool]:
    try:
        lock: IO[str] = (home / "run.lock").open("r", encoding="ascii")
    except OSError:  # just being made, or just being removed
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def remove(server: Server) -> None:
    server.stop("immediate")
    shutil.rmtree(server.home, ignore_errors=True)
