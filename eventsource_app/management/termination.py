"""An end by a signal in the middle of a command: what is unfinished is cleared away, and a sentence says how far it came."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.management.base import CommandError


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, by the way that SIGINT takes by itself."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """While inside, SIGTERM raises as SIGINT does, so that what is unfinished is cleared away. Nothing off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupted(interrupt: KeyboardInterrupt, how_far: str) -> CommandError:
    """Return the sentence for an end by a signal, with the signal's exit status."""
    return CommandError(f"Interrupted: {how_far}.", returncode=status_of(interrupt))


def status_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status for an end by that signal, as a shell has it."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, TerminatedError) else signal.SIGINT)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise TerminatedError
