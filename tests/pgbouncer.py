"""A PgBouncer in transaction mode on loopback, in front of a PostgreSQL on a socket."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import unquote, urlsplit

import psycopg

from settings.postgres_binaries import server_user
from tests.waiting import wait_for

# Fewer sessions than clients, so that two transactions of one client often get two sessions.
SESSIONS = 4
CONFIGURATION = """
[databases]
* = host={sockets} port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {home}/users.txt
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
"""


def program() -> str | None:
    """Where PgBouncer is, or None; Debian has it in a folder that is not on everybody's PATH."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(database_url: str, port: int) -> Iterator[str]:
    """Run one before *database_url* for the length of the block; yield the URL through it."""
    found = program()
    assert found is not None
    parts = urlsplit(database_url)
    home, user = Path(mkdtemp(prefix="eventsource-pgbouncer-", dir="/var/tmp")), server_user()
    home.chmod(0o755)
    configuration, sockets = (
        home / "pgbouncer.ini",
        unquote(parts.netloc.rpartition("@")[2].rpartition(":")[0]),
    )
    configuration.write_text(CONFIGURATION.format(sockets=sockets, port=port, home=home, sessions=SESSIONS))
    (home / "users.txt").write_text(f'"{parts.username}" ""\n')
    with (home / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [found, str(configuration)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            **user.subprocess_arguments,
        )
    url = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    try:
        wait_for(lambda: _answers(url) or process.poll() is not None, what="pgbouncer")
        assert process.poll() is None, (home / "pgbouncer.log").read_text()
        yield url
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(home)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
