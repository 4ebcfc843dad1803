"""settings.local_postgres, with a real server: its first user starts it, its last one stops it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from settings import postgres_binaries
from settings.local_postgres import PROJECT, attached, project_server
from settings.postgres_binaries import LocalPostgresError, ServerUser, find_binaries
from settings.postgres_server import Server
from settings.throwaway_postgres import running, sweep, throwaway_server

ATTACH = """
import sys
from pathlib import Path
from settings.local_postgres import attached, project_server
with attached(project_server(Path(sys.argv[1]))) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def server() -> Iterator[Server]:
    # Not tmp_path: pytest's folders are closed to `nobody`, who runs the server for root.
    folder = Path(f"/var/tmp/eventsource-unit-{os.getpid()}")  # noqa: S108
    folder.mkdir(mode=0o755)
    server = project_server(folder)
    yield server
    server.stop("immediate")
    shutil.rmtree(folder)
    shutil.rmtree(server.sockets, ignore_errors=True)


def start_user(server: Server) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ATTACH, str(server.home.parent)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def url_of(user: subprocess.Popen[str]) -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def answers(server: Server) -> bool:
    try:
        psycopg.connect(server.url("postgres")).close()
    except psycopg.OperationalError:
        return False
    return True


def test_the_last_user_stops_it_and_the_data_stays(server: Server) -> None:
    with attached(server) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with attached(server):
            pass
        assert answers(server)
    assert not answers(server)

    with attached(server) as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_port_that_the_environment_names_is_another_servers(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPORT, as they have it who run a PostgreSQL of their own."""
    monkeypatch.setenv("PGPORT", "6000")
    with attached(server) as url, psycopg.connect(url) as connection:
        assert connection.info.port == 5432


def test_two_that_start_at_once_share_one_server(server: Server) -> None:
    users = [start_user(server) for _ in range(2)]
    assert [url_of(user) for user in users] == [server.url(), server.url()]

    users[0].communicate("\n", timeout=20)
    assert answers(server)
    users[1].communicate("\n", timeout=20)

    assert [user.returncode for user in users] == [0, 0]
    assert not answers(server)


def test_a_server_whose_starter_was_killed_is_attached_to_and_stopped(server: Server) -> None:
    user = start_user(server)
    url_of(user)
    user.send_signal(signal.SIGKILL)
    user.communicate()
    assert answers(server)

    with attached(server):
        assert answers(server)
    assert not answers(server)


def test_a_server_that_was_killed_is_started_again(server: Server) -> None:
    with attached(server):
        pid = int((server.cluster / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        with attached(server) as url:
            psycopg.connect(url).close()


def test_what_a_killed_test_run_left_is_swept_away() -> None:
    ours = throwaway_server(os.getpid() + 10_000_000)  # no pid is that high
    script = (
        "import os; from settings.throwaway_postgres import running, throwaway_server\n"
        f"with running(throwaway_server({os.getpid() + 10_000_000})): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False)
    assert answers(ours)

    sweep()

    assert not answers(ours)
    assert not ours.home.exists()


def test_sweeping_spares_a_run_that_is_alive() -> None:
    server = throwaway_server(os.getpid() + 20_000_000)
    with running(server):
        sweep()
        assert answers(server)
    assert not server.home.exists()


def test_no_binaries_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "_candidates", lambda: iter([Path("/nowhere/bin")]))

    with pytest.raises(LocalPostgresError, match="install one of them, or set DATABASE_URL"):
        find_binaries(ServerUser(os.geteuid(), os.getegid(), switch=False))


def test_data_of_a_version_that_is_not_here_is_one_sentence() -> None:
    user = postgres_binaries.server_user()

    with pytest.raises(LocalPostgresError, match="made by PostgreSQL 9 and only version"):
        find_binaries(user, 9)


def test_a_folder_that_another_user_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    assert not ServerUser(uid=65_000, gid=65_000, switch=True).can_reach(closed / "data")
    assert ServerUser(os.geteuid(), os.getegid(), switch=False).can_reach(closed / "data")
