"""How far a read model has come, and waiting for it without holding a connection.

One thread per process reads the checkpoints for all who wait: when a worker tells of progress, and often enough by itself
when nobody does. It starts with the first who waits and ends, with its connection, when there has been nobody for a while.
"""

import logging
import os
import select
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg

from eventsource_app.store.fence import HEAD
from eventsource_app.store.notifications import PROGRESS_CHANNEL, connect
from eventsource_app.store.session import fetch_all, log_database, option
from eventsource_app.store.slots import slot_of
from eventsource_app.subscriptions.dead_letters import OPEN

POLL_SECONDS: Final = 0.05
# With notifications a poll only makes up for a lost one.
LISTENING_POLL_SECONDS: Final = 0.5
IDLE_SECONDS: Final = 10.0
# The log's first position holds no event, so whoever waits for it has nothing to wait for.
NEVER_USED: Final = 1

ROWS: Final = "SELECT subscription, partition, partition_count, position FROM eventsource_app_checkpoint"
# Where no aggregate is asked about, it is the one of the event at the position.
LOOK: Final = f"""
WITH asked AS (
    SELECT coalesce(%(aggregate)s::uuid, (SELECT aggregate_id FROM eventsource_app_event WHERE position = %(position)s::bigint)) AS id)
SELECT ({HEAD}) AS head,
       (SELECT min(c.position) FROM eventsource_app_checkpoint c
         WHERE c.subscription = %(subscription)s::text
           AND (%(slot)s::smallint IS NULL OR c.partition = %(slot)s::smallint %% c.partition_count)) AS reached,
       EXISTS (SELECT FROM eventsource_app_deadletter, asked
                WHERE subscription = %(subscription)s::text AND aggregate_id = asked.id AND {OPEN}) AS is_parked
"""  # noqa: S608 - the values put in are constants

logger = logging.getLogger("eventsource.http")


@dataclass(frozen=True, slots=True)
class Goal:
    """What somebody waits for: a subscription has reached a position, at least with one aggregate's partition."""

    subscription: str
    position: int
    aggregate_id: UUID | None = None

    @property
    def slot(self) -> int | None:
        return None if self.aggregate_id is None else slot_of(self.aggregate_id)

    def is_met(self, rows: list[tuple[str, int, int, int]]) -> bool:
        """Say whether all partitions that matter have come so far."""
        slot = self.slot
        positions = [
            position
            for subscription, partition, count, position in rows
            if subscription == self.subscription and (slot is None or slot % count == partition)
        ]
        return bool(positions) and min(positions) >= self.position


@dataclass(frozen=True, slots=True)
class Look:
    """How things stand: the log's head, how far the subscription is (None: it never ran), and whether the aggregate is parked."""

    head: int
    reached: int | None
    is_parked: bool

    def meets(self, goal: Goal) -> bool:
        return max(self.reached or 0, NEVER_USED) >= goal.position


def look(goal: Goal) -> Look:
    """Ask the database once, on the caller's connection."""
    params = {
        "aggregate": goal.aggregate_id,
        "position": goal.position,
        "subscription": goal.subscription,
        "slot": goal.slot,
    }
    [row] = fetch_all(log_database(), LOOK, params)
    return Look(*row)


class Watcher:
    """The thread of one process that looks for all who wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting_count = 0
        self._rows: list[tuple[str, int, int, int]] = []
        self._thread: threading.Thread | None = None
        self._bell = Bell()
        self._is_closing = False

    def wait(self, goal: Goal, seconds: float) -> bool:
        """Wait until the goal is met, or the time is over; say which. A position once seen may be taken back by a rebuild."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._waiting_count += 1
            self._bell.ring()
            try:
                while not goal.is_met(self._rows) and (left := deadline - time.monotonic()) > 0:
                    self._ensure_thread()  # again and again: it ends when the database goes away
                    self._changed.wait(min(left, LISTENING_POLL_SECONDS))
                return goal.is_met(self._rows)
            finally:
                self._waiting_count -= 1

    def close(self) -> None:
        """End the thread and its connection, and wait for both; nobody may be waiting."""
        thread, self._is_closing = self._thread, True
        self._bell.ring()
        if thread is not None:
            thread.join()
        self._is_closing = False

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="eventsource-watcher", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            with connect(log_database()) as connection:
                poll = LISTENING_POLL_SECONDS if _listen(connection) else POLL_SECONDS
                idle_since = time.monotonic()
                while not self._ends(idle_since):
                    if self._waiting_count:
                        idle_since = time.monotonic()
                        self._publish(connection.execute(ROWS).fetchall())
                    ready, _, _ = select.select([connection.fileno(), self._bell.fileno()], [], [], poll)
                    self._bell.silence()
                    if connection.fileno() in ready:
                        list(connection.notifies(timeout=0))
        except (psycopg.Error, OSError) as error:
            logger.warning("Nobody is woken just now", extra={"error_message": str(error).strip()})

    def _ends(self, idle_since: float) -> bool:
        """Say whether nobody has waited for a while; whoever comes after that starts another thread."""
        with self._changed:
            is_idle = time.monotonic() - idle_since >= IDLE_SECONDS
            if self._waiting_count or not (is_idle or self._is_closing):
                return False
            self._thread = None
            return True

    def _publish(self, rows: list[Any]) -> None:
        with self._changed:
            self._rows = rows
            self._changed.notify_all()


class Bell:
    """Ends a ``select`` from another thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        return self._read

    def ring(self) -> None:
        with suppress(BlockingIOError):  # a full pipe rings as well
            os.write(self._write, b"x")

    def silence(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._read, 65536)


def _listen(connection: psycopg.Connection[Any]) -> bool:
    """LISTEN, unless a pooler in transaction mode forbids it."""
    if not option("LISTEN", True):
        return False
    connection.execute(f"LISTEN {PROGRESS_CHANNEL}")
    return True
