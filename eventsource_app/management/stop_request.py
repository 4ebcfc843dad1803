"""What SIGINT and SIGTERM ask of a supervisor: the handler only notes it, the loop acts.

Imports nothing that takes time: ``manage.py`` listens by ``EARLY`` before it imports Django.
"""

import os
import signal
import time
from types import FrameType

SAME_REQUEST_SECONDS = 1.0


class StopRequest:
    """The first signal asks for a graceful stop, another one more than a second later for a forced one.

    A terminal and `make` both pass one Ctrl-C on, so signals within a second are one request.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.first_at: float | None = None
        self.forced_by: int | None = None

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.note)

    def install_early(self) -> None:
        """Listen where there is no loop yet: what is noted is for whoever runs later, and a forced stop is just the end."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.note_or_end)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        now = time.monotonic()
        if self.first_at is None:
            self.first, self.first_at = number, now
        elif now - self.first_at > SAME_REQUEST_SECONDS:
            self.forced_by = number

    def note_or_end(self, number: int, _frame: FrameType | None = None) -> None:
        self.note(number)
        if self.forced_by is not None:
            os._exit(self.exit_status)

    @property
    def asked(self) -> bool:
        return self.first_at is not None

    @property
    def reason(self) -> str:
        """The name of the first signal; empty when none came."""
        return "" if self.first is None else signal.Signals(self.first).name

    @property
    def exit_status(self) -> int:
        """0 after a graceful stop, as a shell has it after a forced one (130 or 143)."""
        return 0 if self.forced_by is None else 128 + self.forced_by


EARLY = StopRequest()  # of a process that is still being imported
