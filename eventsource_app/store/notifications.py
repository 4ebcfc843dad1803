"""Wake-ups: telling workers that there is something to read, without a NOTIFY in anybody's transaction.

NOTIFY takes a lock on the whole database at commit, so appends only raise a flag. One thread per process and database
answers it with a NOTIFY of its own, at once and then at most every five milliseconds. Under a steady stream of appends the
window doubles up to a twentieth of a second, since workers that find something poll faster than that by themselves. A lost
one costs latency, never an event: workers poll as well.
"""

import logging
import os
import threading
from typing import Any, Final

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import ExecStatus

from eventsource_app.store.session import option

CHANNEL: Final = "eventsource"
NO_FLUSH: Final = "SET LOCAL synchronous_commit = off"
# A read model has moved: whoever waits to read what they wrote may look again.
PROGRESS_CHANNEL: Final = "eventsource_progress"
WINDOW_SECONDS: Final = 0.005
BUSY_WINDOW_SECONDS: Final = 0.05
IDLE_SECONDS: Final = 30.0

logger = logging.getLogger(__name__)


class WakeUps:
    """The notifying thread of one process and database; it starts with the first append and ends when idle."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._pending = threading.Event()
        self._channels: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def raise_flag(self, channel: str = CHANNEL) -> None:
        """Ask for a notification soon; costs next to nothing."""
        if self._thread is not None and channel in self._channels and self._pending.is_set():
            return  # the thread has not taken it yet
        self._channels.add(channel)
        self._pending.set()
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """End the thread and its connection, and wait for both."""
        thread = self._thread
        self._closing.set()
        self._pending.set()
        if thread is not None:
            thread.join()
        self._closing.clear()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="eventsource-wake-ups", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                # No thread is left, or the interpreter ends. The append has been committed, so it must not seem to fail.
                self._thread = None
                _tell_lost(error)

    def _run(self) -> None:
        try:
            with connect(self._using) as connection:
                window = WINDOW_SECONDS
                while self._pending.wait(IDLE_SECONDS) and not self._closing.is_set():
                    self._pending.clear()
                    _notify(connection, self._take_channels())
                    self._closing.wait(window)
                    busy = self._pending.is_set()
                    window = min(window * 2, BUSY_WINDOW_SECONDS) if busy else WINDOW_SECONDS
        except (psycopg.Error, OSError) as error:
            _tell_lost(error)
        finally:
            self._thread = None

    def _take_channels(self) -> list[str]:
        """Empty the set one by one: whoever adds meanwhile raises the flag again afterwards."""
        taken = []
        while self._channels:
            taken.append(self._channels.pop())
        return taken


def _notify(connection: psycopg.Connection[Any], channels: list[str]) -> None:
    """Send them by libpq alone: this runs beside the busiest writers, and a cursor's work would be taken from them.

    Nor do they wait for a flush of its commit: what a crash of the server loses here would have woken nobody.
    """
    if not channels:
        return
    # As one message it is one transaction, so that nothing is left set for whom a pooler gives the session next.
    statements = (NO_FLUSH, *(f"NOTIFY {channel}" for channel in channels))
    result = connection.pgconn.exec_("; ".join(statements).encode())
    if result.status != ExecStatus.COMMAND_OK:
        raise psycopg.OperationalError(connection.pgconn.get_error_message())


def _tell_lost(error: Exception) -> None:
    logger.warning(
        "Wake-up not sent; workers find the events by polling", extra={"error_message": str(error)}
    )


def connect(using: str) -> psycopg.Connection[Any]:
    """Open a connection of its own beside Django's (and its pool), in autocommit."""
    params: dict[str, Any] = dict(connections[using].get_connection_params())
    for name in ("pool", "cursor_factory", "context", "prepare_threshold"):
        params.pop(name, None)
    if not option("PREPARED_STATEMENTS", True):
        params["prepare_threshold"] = None
    return psycopg.connect(**{**params, "autocommit": True})


_wake_ups: dict[str, WakeUps] = {}
# A fork copies neither thread nor connection: the child begins with none.
os.register_at_fork(after_in_child=_wake_ups.clear)


def wake_up_after_commit(connection: BaseDatabaseWrapper) -> None:
    """Wake the workers once the present transaction has committed (at once where there is none)."""
    if not option("WAKE_UPS", True):
        return
    wake_ups = _wake_ups_of(connection.alias)
    if connection.in_atomic_block:
        connection.on_commit(wake_ups.raise_flag, robust=True)
    else:
        wake_ups.raise_flag()


def tell_progress(using: str) -> None:
    """Tell whoever waits for a read model that one has moved, after the commit that moved it."""
    if option("WAKE_UPS", True):
        _wake_ups_of(using).raise_flag(PROGRESS_CHANNEL)


def _wake_ups_of(using: str) -> WakeUps:
    return _wake_ups.get(using) or _wake_ups.setdefault(using, WakeUps(using))


def close_wake_ups() -> None:
    """End the notifying threads of this process (before a fork, or at the end of tests)."""
    for wake_ups in _wake_ups.values():
        wake_ups.close()
