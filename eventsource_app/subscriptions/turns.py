"""Turns: where a process may run more partitions than it has connections for, each is run for a while, then the next."""

import time
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from eventsource_app.store.session import fetch_one
from eventsource_app.subscriptions.sharing import Held

MAX_CONNECTIONS: Final = "SELECT current_setting('max_connections')::int"
# Each partition that runs has a connection of its own; the rest is left to readers, the web and operators.
WORKERS_PART: Final = 0.75
TURN_SECONDS: Final = 5.0


class Running(Held, Protocol):
    """A partition that this process runs, and how far it is."""

    @property
    def has_caught_up(self) -> bool: ...


Own = TypeVar("Own", bound=Running)


class Turns:
    """How many partitions a process runs at once, and whose turn it is."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._for_workers = 0
        self._taken_at: dict[int, float] = {}

    def room(self, processes: int) -> int:
        """Return how many partitions each of so many live processes may run, by the server's ``max_connections``."""
        if not self._for_workers:
            (most,) = fetch_one(self._using, MAX_CONNECTIONS)
            self._for_workers = int(most * WORKERS_PART)
        return max(1, self._for_workers // max(1, processes))

    def note_taken(self, checkpoint_id: int) -> None:
        self._taken_at[checkpoint_id] = time.monotonic()

    def last(self, checkpoint_id: int) -> float:
        """Return when a partition had its last turn here: the least comes next."""
        return self._taken_at.get(checkpoint_id, 0.0)

    def ended(self, running: Sequence[Own], waiting: int) -> Sequence[Own]:
        """Return what makes room for so many: first what has caught up, then what has run for longest."""
        since = time.monotonic() - TURN_SECONDS
        staying = [own for own in running if not own.is_leaving]
        over = [own for own in staying if own.has_caught_up or self._last(own) < since]
        missing = max(0, waiting - (len(running) - len(staying)))
        return sorted(over, key=lambda own: (not own.has_caught_up, self._last(own)))[:missing]

    def _last(self, own: Running) -> float:
        return self.last(own.lease.checkpoint_id)
