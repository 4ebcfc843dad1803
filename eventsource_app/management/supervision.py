"""Several worker processes on one host: started, started again when they die, and stopped together."""

import logging
import signal
import sys
import time
from typing import Final

from eventsource_app.management.child import Child, stop_all
from eventsource_app.management.stop_request import StopRequest

logger = logging.getLogger("eventsource.supervisor")
TICK_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 5  # beyond the workers' own limit, before what still runs is killed


class Supervision:
    """Keeps a process of each command running until a signal; ``finite`` ones may end by themselves."""

    def __init__(
        self, commands: list[list[str]], shutdown_timeout: float, stop: StopRequest, *, finite: bool
    ) -> None:
        self._stop = stop  # may have been asked already; then nothing is started
        self._shutdown_timeout = shutdown_timeout
        self._finite = finite
        self._children = [Child(f"worker {number}", command) for number, command in enumerate(commands)]

    def run(self) -> int:
        """Watch until all have ended or a signal comes; return the exit status: 0, or the first child's that was not."""
        self._stop.install()
        try:
            self._watch()
        finally:
            stop_all(self._children, self._stop, self._shutdown_timeout + GRACE_SECONDS)
        status = self._stop.exit_status or next(
            (code for child in self._children if (code := _answer(child))), 0
        )
        if self._stop.asked:
            logger.info(
                "Worker processes stopped", extra={"reason": self._stop.reason, "exit_status": status}
            )
        return status

    def _watch(self) -> None:
        for child in self._children:
            if not self._stop.asked:
                child.start()
        while not self._stop.asked and not self._all_done():
            for child in self._children:
                self._look_after(child)
            time.sleep(TICK_SECONDS)

    def _look_after(self, child: Child) -> None:
        if self._is_done(child):
            return
        died = child.keep_running()
        if died:
            logger.error("Worker process died", extra={"error_message": died, "exit_status": child.status})

    def _is_done(self, child: Child) -> bool:
        """A finite one has given its answer by its exit status, unless it was killed."""
        return self._finite and child.status is not None and child.status >= 0

    def _all_done(self) -> bool:
        return all(self._is_done(child) for child in self._children)


def worker_command(names: list[str], options: list[str]) -> list[str]:
    """Return the command line of one supervised worker: this very program, with one process."""
    return [sys.executable, *interpreter_script(), "run_subscriptions", *names, *options]


def interpreter_script() -> list[str]:
    """Return how this program is named on its interpreter's command line."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:
        return ["-m", main.__spec__.name.removesuffix(".__main__")]  # type: ignore[union-attr]
    return [sys.argv[0]]


def _answer(child: Child) -> int:
    """Return the exit status that a child adds to ours, as a shell has it."""
    status = 0 if child.awaits_restart else child.status or 0
    # Our own, before it had begun to listen for it, so it had not begun anything else.
    if status == -signal.SIGTERM:
        return 0
    return 128 - status if status < 0 else status
