"""Ask the database with patience of a second and a half, whatever keeps it: a lock, a full pool, a dead host.

A server that hangs cannot be told to give up, and neither can a thread that waits for it. So the question runs in a
thread of its own that closes its own connection, and the probe leaves it behind. At most two such threads exist in a
process: while both hang, further probes answer that at once and leave nothing behind.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from django.db import connections

PATIENCE_SECONDS: Final = 1.6
MAX_THREADS: Final = 2

Answer = TypeVar("Answer")

_slots = threading.BoundedSemaphore(MAX_THREADS)


class DatabaseHangsError(Exception):
    """The database did not answer in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the database did not answer within {seconds:g} seconds")
        self.seconds = seconds


def ask(question: Callable[[], Answer], using: str, seconds: float = PATIENCE_SECONDS) -> Answer:
    """Return what ``question`` returns, or raise what it raises, or ``DatabaseHangsError`` after ``seconds``."""
    if connections[using].in_atomic_block:
        # Only this connection sees what its transaction (a test's, say) has written.
        return question()
    deadline = time.monotonic() + seconds
    if not _slots.acquire(timeout=seconds):
        raise DatabaseHangsError(seconds)
    future: Future[Answer] = Future()
    threading.Thread(target=_answer, args=(future, question, using), name="probe", daemon=True).start()
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        if future.done():  # the question raised it, or answered at the last moment
            return future.result()
        raise DatabaseHangsError(seconds) from None


def _answer(future: Future[Answer], question: Callable[[], Answer], using: str) -> None:
    try:
        answer = question()
    except BaseException as error:
        _finish(using)
        future.set_exception(error)
    else:
        _finish(using)
        future.set_result(answer)


def _finish(using: str) -> None:
    """Give connection and slot back before the answer is seen, so that nothing outlives the probe."""
    try:
        connections[using].close()
    finally:
        _slots.release()
