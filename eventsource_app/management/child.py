"""A process that a supervisor keeps running: started, restarted with growing pauses, stopped; it never outlives us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from eventsource_app.management.stop_request import StopRequest

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
STABLE_SECONDS = 60.0
TICK_SECONDS = 0.05
TIED_CHILD = Path(__file__).with_name("tied_child.py")


def pause_before_restart(deaths: int) -> float:
    """Return how long to wait after that many deaths in a row: 0.5, 1, 2 … 30 seconds."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(deaths - 1, 10))


class Child:
    """One command in a process group of its own, so that Ctrl-C reaches it through us only, and once."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._command, self._environment, self._folder = command, environment, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._restart_at: float | None = None

    def start(self) -> None:
        tied = [sys.executable, "-I", "-S", str(TIED_CHILD), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 -- our own commands
            [*tied, *self._command],
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        self._started_at, self._restart_at = time.monotonic(), None

    @property
    def status(self) -> int | None:
        """The exit status (negative: killed by that signal), or None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self.status is None

    @property
    def awaits_restart(self) -> bool:
        """Say whether it has died and its pause is not over."""
        return self._restart_at is not None

    def keep_running(self) -> str | None:
        """Restart it when it is dead and its pause is over; return a sentence when it has just died."""
        if self.running:
            return None
        now = time.monotonic()
        if self._restart_at is None:
            return self._note_death(now)
        if now >= self._restart_at:
            self.start()
        return None

    def _note_death(self, now: float) -> str:
        self._deaths = 1 if now - self._started_at > STABLE_SECONDS else self._deaths + 1
        pause = pause_before_restart(self._deaths)
        self._restart_at = now + pause
        return f"{self.name} ended with status {self.status}; it is started again in {pause:g} s."

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process alone: it stops its own children in its own order."""
        if self._process and self.running:
            self._process.terminate()

    def kill_group(self) -> None:
        """Kill whatever is left of its process group."""
        if self._process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def stop_all(children: Sequence[Child], stop: StopRequest, seconds: float) -> None:
    """Ask all to stop, wait for so long or until it is forced, and kill what is left in their process groups."""
    deadline = time.monotonic() + seconds
    for child in children:
        child.ask_to_stop()
    while any(child.running for child in children):
        if stop.forced_by is not None or time.monotonic() > deadline:
            break
        time.sleep(TICK_SECONDS)
    for child in children:
        child.kill_group()
