"""What SIGINT and SIGTERM ask of a supervisor: the handler only notes it, the loop acts."""

import signal
import time
from types import FrameType

SAME_REQUEST_SECONDS = 1.0


class StopRequest:
    """The first signal asks for a graceful stop, another one more than a second later for a forced one.

    A terminal and `make` both pass one Ctrl-C on, so signals within a second are one request.
    """

    def __init__(self) -> None:
        self.first_at: float | None = None
        self.forced_by: int | None = None

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.note)

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        now = time.monotonic()
        if self.first_at is None:
            self.first_at = now
        elif now - self.first_at > SAME_REQUEST_SECONDS:
            self.forced_by = number

    @property
    def asked(self) -> bool:
        return self.first_at is not None

    @property
    def exit_status(self) -> int:
        """0 after a graceful stop, as a shell has it after a forced one (130 or 143)."""
        return 0 if self.forced_by is None else 128 + self.forced_by
