"""Progress of long work: one line on a terminal that stays in place, elsewhere a log line now and then."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

TERMINAL_INTERVAL_SECONDS = 0.2
LOG_INTERVAL_SECONDS = 10.0

logger = logging.getLogger("eventsource.progress")


class Progress:
    """Count work towards ``total`` and show the rate and the time left."""

    def __init__(
        self,
        title: str,
        total: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.total, self.done = title, total, 0
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._interval = TERMINAL_INTERVAL_SECONDS if self._on_terminal else LOG_INTERVAL_SECONDS
        self._clock = clock
        self._started_at = self._shown_at = clock()

    def advance(self, count: int = 1) -> None:
        """Note that ``count`` more are done; shows it when the last time is long enough ago."""
        self.done += count
        if self._clock() - self._shown_at >= self._interval:
            self._show()

    def finish(self) -> None:
        """Show the end result, whatever the interval."""
        self._show()
        if self._on_terminal:
            self._stream.write("\n")
            self._stream.flush()

    @property
    def rate(self) -> float:
        """Items per second so far."""
        elapsed = self._clock() - self._started_at
        return self.done / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the total at the rate so far; ``None`` before anything is done."""
        return (self.total - self.done) / self.rate if self.rate else None

    def _show(self) -> None:
        self._shown_at = self._clock()
        left = self.seconds_left
        if self._on_terminal:
            shown = "?" if left is None else f"{left:.0f}"
            line = f"{self.title}: {self.done}/{self.total}, {self.rate:.0f}/s, {shown} s left"
            self._stream.write(f"\r{line}\x1b[K")
            self._stream.flush()
            return
        logger.info(
            self.title,
            extra={
                "done_count": self.done,
                "total_count": self.total,
                "rate_per_second": round(self.rate, 1),
                "seconds_left": None if left is None else round(left, 1),
            },
        )
