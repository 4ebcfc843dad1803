"""Progress of long work: a line that is rewritten on a terminal, a log line now and then anywhere else."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TextIO

logger = logging.getLogger("eventsource.progress")
TERMINAL_SECONDS = 0.2
LOG_SECONDS = 10.0


class Progress:
    """Counts what is done and tells rate and time left, on standard error.

    ``total`` may be None where nobody knows it. ``advance`` is cheap enough for every batch; ``finish`` says the sum.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.unit, self.total, self.done = what, unit, total, 0
        self._clock = clock
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._began = self._told = clock()

    def advance(self, count: int = 1) -> None:
        """Note that so many more are done."""
        self.done += count
        now = self._clock()
        if now - self._told >= (TERMINAL_SECONDS if self._on_terminal else LOG_SECONDS):
            self._told = now
            self._tell(finished=False)

    def finish(self) -> None:
        """Tell the end; a terminal's line stays as it then is."""
        self._tell(finished=True)
        self.leave()

    def leave(self) -> None:
        """Leave the terminal's line as it is: what follows, a sentence perhaps, begins a new one."""
        if self._on_terminal:
            self._stream.write("\n")

    @property
    def rate(self) -> float:
        """Per second, since the beginning."""
        return self.done / max(self._clock() - self._began, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        if self.total is None or not self.done:
            return None
        return max(0, self.total - self.done) / self.rate

    def _tell(self, *, finished: bool) -> None:
        if self._on_terminal:
            self._stream.write(f"\r\x1b[K{self.what}: {self._sentence(finished=finished)}")
            self._stream.flush()
            return
        left = None if finished else self.seconds_left
        extra = {
            "unit": self.unit,
            "done_count": self.done,
            "total_count": self.total,
            "per_second": round(self.rate),
            "seconds_left": None if left is None else round(left, 1),
        }
        logger.info("%s %s", self.what, "finished" if finished else "in progress", extra=extra)

    def _sentence(self, *, finished: bool) -> str:
        of = f" of {self.total:,} ({100 * self.done // self.total} %)" if self.total else ""
        left = "" if finished or self.seconds_left is None else f", {_duration(self.seconds_left)} left"
        return f"{self.done:,}{of} {self.unit}, {self.rate:,.0f}/s{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
