"""Several worker processes on one host: started, started again when they die, and stopped together."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from eventsource_app.subscriptions.signals import StopSignals

logger = logging.getLogger("eventsource.supervisor")
POLL_SECONDS: Final = 0.1
FIRST_DELAY_SECONDS: Final = 1.0
MAX_DELAY_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
PR_SET_PDEATHSIG: Final = 1


@dataclass
class _Child:
    """One place in the row of processes; ``process`` is replaced when it dies."""

    command: list[str]
    process: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)
    delay: float = FIRST_DELAY_SECONDS
    restart_at: float | None = None
    status: int | None = None


class Supervision:
    """Keeps a process of each command alive until a signal; ``finite`` ones may end by themselves with status 0."""

    def __init__(self, commands: list[list[str]], shutdown_timeout: float, *, finite: bool) -> None:
        self._shutdown_timeout = shutdown_timeout
        self._finite = finite
        self._stopping = ""
        self._children = [_Child(command, _spawn(command)) for command in commands]

    def run(self) -> int:
        """Watch until all have ended; return the exit status: 0, or the first child's that was not."""
        with StopSignals(self._ask) as signals:
            while not self._stopping and not self._all_done():
                signals.wait(POLL_SECONDS)
                for child in self._children:
                    self._look_after(child)
        return self._stop()

    def _ask(self, reason: str) -> None:
        self._stopping = reason

    def _look_after(self, child: _Child) -> None:
        if child.status == 0 and self._finite:
            return
        if child.restart_at is not None:
            if time.monotonic() >= child.restart_at:
                child.process, child.started_at, child.restart_at = (
                    _spawn(child.command),
                    time.monotonic(),
                    None,
                )
                child.status = None
            return
        child.status = child.process.poll()
        if child.status is None or (child.status == 0 and self._finite):
            return
        steady = time.monotonic() - child.started_at > STEADY_SECONDS
        child.delay = FIRST_DELAY_SECONDS if steady else min(child.delay * 2, MAX_DELAY_SECONDS)
        child.restart_at = time.monotonic() + child.delay
        logger.error(
            "Worker process died, starting another",
            extra={"pid": child.process.pid, "exit_status": child.status, "delay_seconds": child.delay},
        )

    def _all_done(self) -> bool:
        return self._finite and all(child.status == 0 for child in self._children)

    def _stop(self) -> int:
        living = [child.process for child in self._children if child.process.poll() is None]
        for process in living:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._shutdown_timeout + MAX_DELAY_SECONDS
        for process in living:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        statuses = [child.process.returncode for child in self._children if child.restart_at is None]
        return next((_exit_status(status) for status in statuses if status), 0)


def _spawn(command: list[str]) -> subprocess.Popen[bytes]:
    # A process group of its own: a Ctrl-C in the terminal reaches it once, through us.
    return subprocess.Popen(command, process_group=0)  # noqa: S603 - our own command line


def worker_command(names: list[str], options: list[str]) -> list[str]:
    """Return the command line of one supervised worker: this very program, with one process."""
    return [
        sys.executable,
        *_interpreter_script(),
        "run_subscriptions",
        *names,
        "--supervised",
        str(os.getpid()),
        *options,
    ]


def end_with(supervisor: int) -> None:
    """Have the kernel send SIGTERM when the supervisor dies, however it dies (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != supervisor:  # it died before we asked
            os.kill(os.getpid(), signal.SIGTERM)


def _interpreter_script() -> list[str]:
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:
        return ["-m", main.__spec__.name.removesuffix(".__main__")]  # type: ignore[union-attr]
    return [sys.argv[0]]


def _exit_status(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode
