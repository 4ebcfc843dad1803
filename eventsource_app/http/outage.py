"""While the database is away one request at a time finds out whether it is back; the others are told at once.

Otherwise every thread of the process would wait for a connection in vain, and none would be left for a probe.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger("eventsource.http")


class OutageGate:
    """Closed by a request that got no connection, opened by one that got one."""

    def __init__(self) -> None:
        self._is_closed = False
        self._trial = threading.Lock()

    @contextmanager
    def passage(self) -> Iterator[bool]:
        """Say whether a request may go on, for the length of it."""
        if not self._is_closed:
            yield True
        elif self._trial.acquire(blocking=False):
            try:
                yield True
            finally:
                self._trial.release()
        else:
            yield False

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            logger.warning("Database away, so requests are answered 503 at once until one gets a connection")

    def open(self) -> None:
        if self._is_closed:
            self._is_closed = False
            logger.info("Database back")
