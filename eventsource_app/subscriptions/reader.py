"""The reader: one thread and one connection per process that reads the log ahead for all its partitions.

Live and catch-up are the same loop: a notification only ends a wait early, and polling alone is always enough.
"""

import contextlib
import logging
import os
import select
import threading
import time
from typing import Any, Final

import psycopg
from django.db import DatabaseError, InterfaceError, connections

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.notifications import CHANNEL
from eventsource_app.store.session import leave_pool, option
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.ownership import Ownership
from eventsource_app.subscriptions.shutdown import StopRequest

logger = logging.getLogger("eventsource.worker")
MIN_POLL_SECONDS: Final = 0.02
MAX_POLL_SECONDS: Final = 0.5
OUTAGE_SECONDS: Final = 1.0
STUCK_SECONDS: Final = 60.0
CLOSED: Final = -1


class Reader:
    """Keeps the lanes full up to the fence's bound, and runs the process's chores on the same connection."""

    def __init__(self, store: EventStore, stop: StopRequest, ownership: Ownership) -> None:
        self._store = store
        self._stop = stop
        self._ownership = ownership
        self._bound = 0
        self._poll = MIN_POLL_SECONDS
        self._next_poll = 0.0
        self._notified = False
        self._waits_for_events = False
        self._listening: psycopg.Connection[Any] | None = None
        self._wake_read = self._wake_write = CLOSED
        self._wake_lock = threading.Lock()
        self.beat_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="eventsource-reader", daemon=True)

    def start(self) -> None:
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_moving(self) -> bool:
        """Say whether the loop has come round lately; an outage of the database does not stop it."""
        return self._thread.is_alive() and time.monotonic() - self.beat_at < STUCK_SECONDS

    def wake(self) -> None:
        """End the reader's wait: there is room in a lane, or a stop; before the start and after the end it is nothing."""
        # The lock: a number that was closed may by now be somebody else's file.
        with self._wake_lock, contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            if self._wake_write != CLOSED:
                os.write(self._wake_write, b"x")

    def _run(self) -> None:
        leave_pool(self._store.using)
        while not self._stop:
            self.beat_at = time.monotonic()
            try:
                self._ownership.chores()
                if self._fill() == 0:
                    self._wait()
            except (DatabaseError, InterfaceError, psycopg.Error, OSError) as error:
                logger.warning("Reader waits for the database", extra={"error_message": str(error).strip()})
                self._disconnect()
                self._stop.wait(OUTAGE_SECONDS)
            except Exception:
                logger.exception("Reader failed by an error of its own; it goes on")
                self._stop.wait(OUTAGE_SECONDS)
        self._disconnect()
        with self._wake_lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = CLOSED

    def _fill(self) -> int:
        """Read one page for each lane that has room; return how many were read."""
        self._advance_bound()
        count = 0
        for lane in self._ownership.lanes():
            wanted = lane.wants(self._bound)
            if wanted is None:
                continue
            after, limit, generation = wanted
            bound = self._bound
            page = self._store.read_feed(after, bound, limit, lane.feed_filter)
            lane.put(Page(after, page.events, page.through, page.through >= bound), generation)
            count += 1
        return count

    def _advance_bound(self) -> None:
        """Ask how far the log may be read, when a lane has come up to it and it may have moved."""
        now = time.monotonic()
        self._waits_for_events = any(lane.next_after >= self._bound for lane in self._ownership.lanes())
        if not self._waits_for_events or not (self._notified or now >= self._next_poll):
            return
        self._notified = False
        bound = self._store.read_bound().bound
        self._poll = MIN_POLL_SECONDS if bound > self._bound else min(self._poll * 1.5, MAX_POLL_SECONDS)
        self._next_poll = now + self._poll
        self._bound = max(bound, self._bound)  # a bound stays valid, so it never goes back

    def _wait(self) -> None:
        """Wait for a notification, for room in a lane, or for the next poll."""
        connection = self._listen()
        watched: list[int] = [self._wake_read]
        if connection is not None:
            watched.append(connection.fileno())
        seconds = self._next_poll - time.monotonic() if self._waits_for_events else MAX_POLL_SECONDS
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 65536)
        if connection is not None and connection.fileno() in ready:
            self._notified = any(True for _ in connection.notifies(timeout=0)) or self._notified

    def _listen(self) -> psycopg.Connection[Any] | None:
        """LISTEN on the reader's own connection, unless a pooler in transaction mode forbids it."""
        if not option("LISTEN", True):
            return None
        connection = connections[self._store.using]
        connection.ensure_connection()
        if connection.connection is not self._listening:
            connection.connection.execute(f"LISTEN {CHANNEL}")
            self._listening = connection.connection
        return self._listening

    def _disconnect(self) -> None:
        """Close for good: a connection that listens must not go back to a pool."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        connections[self._store.using].close()
        # A server that crashed may hand out positions again that only rolled-back appends had taken.
        self._bound = 0
