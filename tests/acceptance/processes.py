"""Real processes for acceptance tests: started as a stranger starts them, seen through their logs and /proc."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from settings.env import for_child_process
from settings.local_postgres import PROJECT
from settings.postgres_server import Server
from tests.waiting import PATIENCE_SECONDS, wait_for


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health/live", timeout=2).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def database_answers(server: Server) -> bool:
    try:
        psycopg.connect(server.url("postgres")).close()
    except psycopg.OperationalError:
        return False
    return True


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lives(pid: int) -> bool:
    """Say whether a process lives (a zombie that pid 1 has not reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def group_is_gone(leader: int) -> bool:
    """Say whether no process of that group lives (a zombie that pid 1 has not reaped does not)."""
    return not _living(place=2, number=leader)


def living_in_session(leader: int) -> list[int]:
    """The processes of a session that live: whatever a supervisor started, however deep."""
    return _living(place=3, number=leader)


def _living(place: int, number: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()  # state, parent, group, session
        except OSError:
            continue
        if int(fields[place]) == number and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


class Process:
    """One of our programs in a session of its own; what it prints goes to a file that cannot fill up and block it."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=PROJECT,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def logs(self, message: str = "", **fields: object) -> list[dict[str, Any]]:
        """The JSON lines so far, with this message and these fields."""
        return [
            line
            for line in _json_lines(self.text())
            if line.get("message") == (message or line.get("message"))
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_for_log(self, message: str, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        wait_for(lambda: len(self.logs(message, **fields)) >= count or not self.running, what=message)
        found = self.logs(message, **fields)
        assert len(found) >= count, self.text()
        return found

    def signal(self, number: signal.Signals) -> float:
        """Send it to the process alone; return the wall clock's time of it."""
        sent_at = time.time()
        self.process.send_signal(number)
        return sent_at

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Return its exit status (negative: killed by that signal)."""
        return self.process.wait(timeout=seconds)

    def kill(self) -> None:
        """Kill it and what it started, if they still live; only ever our own session."""
        for pid in [self.pid, *living_in_session(self.pid)] if self.running else living_in_session(self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


class Run(Process):
    """One supervisor on a data folder and a port of its own, started as the Makefile does."""

    def __init__(self, data: Path, port: int, **changes: str | None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        given = {"DATABASE_URL": None, "TEST_DATABASE_URL": None, "DATA_DIR": str(data), **changes}
        environment = for_child_process(DJANGO_SETTINGS_MODULE="settings.base", **given)
        super().__init__(
            ["-m", "settings.supervisor", "--port", str(port)],
            environment,
            data / f"run-{time.time_ns()}.log",
        )

    def wait_until_up(self) -> None:
        wait_for(lambda: answers(self.url) or not self.running, what="make run")
        assert self.running, self.text()

    def token(self) -> str:
        """The API token that it has printed, from the line to paste."""
        wait_for(lambda: "Authorization: Bearer" in self.text() or not self.running, what="the curl line")
        found = re.search(r"curl .*Authorization: Bearer (\w+_\w+_[\w-]+)", self.text())
        assert found is not None, self.text()
        return found[1]

    def children(self) -> list[int]:
        return children_of(self.pid)

    def output(self) -> str:
        """Wait for its end; return all that it has printed."""
        self.wait()
        return self.text()


def logged_at(line: Mapping[str, Any]) -> float:
    """The time of a log line, as time.time() would have said it."""
    return datetime.fromisoformat(str(line["timestamp"])).timestamp()


def _json_lines(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # being written just now
    return found
