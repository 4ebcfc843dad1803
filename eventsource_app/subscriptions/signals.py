"""Signals: the first SIGTERM or SIGINT asks for a graceful stop, a later one ends the process at once.

The handler only notes the signal: anything more could run in the middle of a COMMIT. The wake-up file descriptor ends the
main thread's wait.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

# A terminal or `make` sends one Ctrl-C to the whole process group, and a supervisor passes its own on.
SAME_REQUEST_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.05  # how often a loop in the main thread looks whether it is done
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While inside, signals ask for a stop. Off the main thread nothing is installed, and ``wait`` just sleeps."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._first_at: float | None = None
        self._previous: dict[int, Any] = {}
        self._read = self._write = -1
        self._previous_fd = -1
        self.received: signal.Signals | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)
        self._previous_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._read < 0:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond a signal; then pass it on."""
        if self._read < 0:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([self._read], [], [], seconds)
        if ready:
            os.read(self._read, 4096)
        if self.received is not None:
            self._ask(self.received.name)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at, self.received = now, signal.Signals(number)
        elif now - self._first_at > SAME_REQUEST_SECONDS:
            sys.stderr.flush()
            os._exit(128 + number)
