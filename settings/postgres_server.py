"""One PostgreSQL server in one folder, on a unix socket only: initialise, start, probe, stop."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from settings.postgres_binaries import Binaries, LocalPostgresError, ServerUser, find_binaries
from settings.stale_pid import remove_stale_pid_file

SUPERUSER = "postgres"
DATABASE = "eventsource"
PORT = 5432  # of a socket only its name; said everywhere, since PGPORT would have its way where it is not
START_TIMEOUT_SECONDS = 60
CANNOT_CONNECT_NOW = "the database system is"  # starting up, shutting down, in recovery mode


@dataclass(frozen=True, slots=True)
class Server:
    """A data folder's server. *home* holds `cluster/` and `server.log`; *sockets* is a short path."""

    home: Path
    sockets: Path
    user: ServerUser
    settings: tuple[str, ...]

    @property
    def cluster(self) -> Path:
        return self.home / "cluster"

    @property
    def log(self) -> Path:
        return self.home / "server.log"

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{SUPERUSER}@{quote(str(self.sockets), safe='')}:{PORT}/{database}"

    def ensure_running(self) -> None:
        """Start the server unless it answers already; raises LocalPostgresError."""
        self.make_folders()
        if self._answers():
            return
        remove_stale_pid_file(self.cluster, self.sockets)
        binaries = find_binaries(self.user, self._data_major())
        if not self.cluster.exists():
            self._initialise(binaries)
        self._start(binaries)

    def ensure_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait; a server that is not running is no error."""
        remove_stale_pid_file(self.cluster, self.sockets)
        if not (self.cluster / "postmaster.pid").exists():
            return
        binaries = find_binaries(self.user, self._data_major())
        self._run(binaries, "pg_ctl", "-D", str(self.cluster), "-m", mode, "-w", "stop")

    def make_folders(self) -> None:
        for folder in (self.home, self.sockets):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if folder.stat().st_uid != self.user.uid:
                    self.user.own(folder)
            except OSError as error:
                raise LocalPostgresError(
                    f"The folder {folder} of the embedded PostgreSQL cannot be used ({error.strerror}): "
                    "give it to the user that runs this, set DATA_DIR to another folder, or set DATABASE_URL."
                ) from error

    def _answers(self) -> bool:
        """Say whether the server accepts connections; one that is starting or stopping is waited for."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if CANNOT_CONNECT_NOW not in str(error):
                    return False
            else:
                return True
            time.sleep(0.1)
        raise LocalPostgresError(
            f"The embedded PostgreSQL has been starting or stopping for {START_TIMEOUT_SECONDS} s: see {self.log}."
        )

    def _data_major(self) -> int | None:
        try:
            return int((self.cluster / "PG_VERSION").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LocalPostgresError(
                f"The data in {self.cluster} cannot be read ({error.strerror}): "
                "run this as the user that made it, or set DATA_DIR to another folder."
            ) from error

    def _initialise(self, binaries: Binaries) -> None:
        # Renamed when finished, so that an interrupted initdb never looks like data.
        unfinished = self.home / f"cluster.{os.getpid()}"
        options = ["-U", SUPERUSER, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync", "-N"]
        self._run(binaries, "initdb", *options, "-D", str(unfinished))
        unfinished.rename(self.cluster)

    def _start(self, binaries: Binaries) -> None:
        # -h '' means no TCP at all: nothing of ours is reachable from elsewhere.
        settings = " ".join(f"-c {setting}" for setting in self.settings)
        options = f"-h '' -k {self.sockets} -p {PORT} {settings}"
        timeout = str(START_TIMEOUT_SECONDS)
        self._run(
            binaries,
            "pg_ctl",
            "-D",
            str(self.cluster),
            "-l",
            str(self.log),
            "-t",
            timeout,
            "-w",
            "-o",
            options,
            "start",
        )

    def _run(self, binaries: Binaries, program: str, *arguments: str) -> None:
        # Output goes nowhere but to us, and never into a pipe that the server would keep open.
        result = subprocess.run(  # noqa: S603 -- a program that find_binaries has found
            [binaries.program(program), *arguments],
            cwd=self.home,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
            **self.user.subprocess_arguments,
        )
        if result.returncode != 0:
            raise LocalPostgresError(
                f"{program} of PostgreSQL {binaries.major} failed with status {result.returncode} "
                f"on {self.cluster} ({self._last_log_line()}): correct that, set DATA_DIR to another folder, "
                "or set DATABASE_URL to a running server."
            )

    def _last_log_line(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        telling = [line for line in lines if "FATAL" in line or "ERROR" in line] or lines
        return telling[-1].strip() if telling else "no log"
