"""The project's embedded PostgreSQL: started by its first user, stopped by its last.

A user holds a shared lock on `users.lock`; the kernel drops it even after a kill -9. Starting and
stopping happen under an exclusive lock on `change.lock`, so two at once never start two servers, and
nobody attaches to one that is being stopped. A server whose users were all killed keeps running; the
next user finds it by its socket, and stops it when it is the last.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from settings.postgres_binaries import SYSTEM_FOLDER, LocalPostgresError, ServerUser, server_user
from settings.postgres_server import Server

PROJECT = Path(__file__).resolve().parent.parent
DURABLE = ("max_connections=100", "fsync=on", "synchronous_commit=on", "full_page_writes=on")


def data_home(data_dir: Path | None, user: ServerUser) -> Path:
    """Return where the data lives: DATA_DIR, else .data of the project where the server can reach it.

    Root's server runs as `nobody`, who cannot enter a project below /root: its data then lives in
    /var/lib, keyed by the project's path so that the next start finds it. Existing data always wins.
    """
    if data_dir is not None:
        return data_dir / "postgres"
    beside = PROJECT / ".data" / "postgres"
    elsewhere = SYSTEM_FOLDER / _key(PROJECT) / "postgres"
    if user.can_reach(beside) and not (elsewhere / "cluster").exists():
        return beside
    return elsewhere if user.switch else beside


def _key(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]


def project_server(data_dir: Path | None = None) -> Server:
    """Return the project's server, running or not."""
    user = server_user()
    home = data_home(data_dir, user)
    if not user.can_reach(home.parent):
        raise LocalPostgresError(
            f"The user 'nobody', who runs PostgreSQL for root, cannot enter {home.parent}: "
            "open its parent folders (chmod o+x), or set DATA_DIR to a folder such as /var/lib/eventsource-app."
        )
    # A socket's path is limited to about 100 bytes, so it does not live with the data; nor in TMPDIR,
    # which may differ between two terminals.
    return Server(home, Path(f"/tmp/eventsource-{_key(home)}"), user, DURABLE)  # noqa: S108


@contextmanager
def attached(server: Server) -> Iterator[str]:
    """Keep *server* running for the length of the block and yield its DATABASE_URL."""
    with _open(server.home / "users.lock", server) as users:
        with _changing(server):
            fcntl.flock(users, fcntl.LOCK_SH)
            server.ensure_running()
            server.ensure_database()
        try:
            yield server.url()
        finally:
            with _changing(server):
                if _is_last(users):
                    server.stop()


def start_again(server: Server) -> None:
    """Start a server that died under its users, unless one of them has done so; raises LocalPostgresError."""
    with _changing(server):
        server.ensure_running()


def _is_last(users: IO[str]) -> bool:
    """Say whether nobody else holds the users' lock; must be called while changing."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _changing(server: Server) -> Iterator[None]:
    with _open(server.home / "change.lock", server) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open(path: Path, server: Server) -> IO[str]:
    server.make_folders()
    try:
        return path.open("a", encoding="ascii")
    except OSError as error:
        raise LocalPostgresError(
            f"{path} of the embedded PostgreSQL cannot be opened ({error.strerror}): run this as the user "
            "that made it, set DATA_DIR to another folder, or set DATABASE_URL."
        ) from error
