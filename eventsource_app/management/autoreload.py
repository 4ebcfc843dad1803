"""A worker that starts anew when its code changes: for development.

Django's own reloader runs the work on a thread of its own and kills it. A worker must stop gracefully and hear signals on its
main thread, so here only Django's list of the loaded code is used, on a side thread; the process then becomes its own successor.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from django.utils import autoreload

from eventsource_app.management.stop_request import StopRequest
from eventsource_app.management.supervision import interpreter_script

logger = logging.getLogger("eventsource.autoreload")
LOOK_SECONDS: Final = 1.0
REASON: Final = "code changed"

Snapshot = dict[Path, float]


class CodeWatcher:
    """Asks for a stop when a file of the loaded code has changed since it was made; ``changed`` tells that it did."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._before = _snapshot()
        self.changed = False
        self._thread = threading.Thread(target=self._run, name="autoreload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        _wait_for_change(self._before, StopRequest())
        self.changed = True
        while True:  # what is asked while the manager still starts would be forgotten
            self._ask(REASON)
            time.sleep(LOOK_SECONDS)


def restart(stop: StopRequest) -> None:
    """Become a new process with the same pid and command line, as soon as the code can be loaded; return when asked to stop."""
    before = _snapshot()
    while (error := _why_it_cannot_be_loaded()) and not stop.asked:
        logger.error("Code cannot be loaded, waiting for the next change", extra={"error_message": error})
        _wait_for_change(before, stop)
        before = _snapshot()
    if not stop.asked:
        os.execv(sys.executable, autoreload.get_child_arguments())  # noqa: S606 - our own command line again


def _why_it_cannot_be_loaded() -> str:
    """Return the last line that ``manage.py check`` says in another process; empty when it finds nothing wrong."""
    command = [sys.executable, *interpreter_script(), "check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    said = result.stderr.strip().splitlines() or ["it ended without a word"]
    return said[-1] if result.returncode else ""


def _snapshot() -> Snapshot:
    return dict(autoreload.StatReloader().snapshot_files())


def _wait_for_change(before: Snapshot, stop: StopRequest) -> None:
    """Return when a known file is newer, or asked to stop; what is loaded meanwhile becomes known."""
    while not stop.asked:
        time.sleep(LOOK_SECONDS)
        now = _snapshot()
        if any(before.get(path, modified) != modified for path, modified in now.items()):
            return
        before = {**now, **before}
