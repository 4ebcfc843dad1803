"""Sharing: which free partitions a process takes and which of its own it gives back, so that all live ones have their part."""

import math
import time
from collections.abc import Container, Sequence
from typing import Final, Protocol, TypeVar

from eventsource_app.subscriptions.checkpoints import CheckpointRow, Lease
from eventsource_app.subscriptions.partitions import Pin

# So long everybody has had the time to take what is within its share.
LEFT_OVER_SECONDS: Final = 5.0


class Held(Protocol):
    """A partition that this process runs (a worker)."""

    @property
    def lease(self) -> Lease: ...
    @property
    def is_leaving(self) -> bool: ...


Own = TypeVar("Own", bound=Held)


class Sharing:
    """What a process knows of the others, from one look to the next."""

    def __init__(self, pin: Pin | None = None) -> None:
        self._pin = pin
        self._live: dict[str, int] = {}
        self._share = 0
        self._free_since: dict[int, float] = {}
        self._left_over: set[int] = set()  # taken, or tried to, beyond the share: not given back

    def look(self, rows: Sequence[CheckpointRow], held: Container[int], live: dict[str, int]) -> None:
        """Note the rows that this process can run, the ids of those it runs, and how many live processes can run each subscription."""
        if live != self._live:
            self._left_over.clear()  # who has come may have room for it
        self._live = live
        now = time.monotonic()
        free = [row.id for row in rows if not row.leased and row.id not in held]
        self._free_since = {id_: self._free_since.get(id_, now) for id_ in free}
        self._share = fair_share([self.rivals(row) for row in rows if self._is_shared(row)])

    def rivals(self, partition: CheckpointRow | Lease) -> int:
        """Return how many live processes can run a partition, this one included."""
        return max(self._live.get(partition.subscription, 1), 1)

    def wants(self, row: CheckpointRow, held: Sequence[Held]) -> bool:
        """Say whether to take what nobody has: within the share, or in exchange for what more processes can run."""
        if row.is_orphan or not self._is_shared(row):
            return True
        if self._is_left_over(row):
            self._left_over.add(row.id)
            return True
        shared = self._shared(held)
        return len(shared) < self._share or any(
            self.rivals(own.lease) > self.rivals(row) for own in shared if not own.is_leaving
        )

    def excess(self, held: Sequence[Own]) -> Sequence[Own]:
        """Return what is to go: first what most others can run, since what only this one can would have nobody."""
        staying = [own for own in self._shared(held) if not own.is_leaving]
        count = len(staying) - self._share
        if count <= 0:
            return ()
        may_go = [own for own in staying if own.lease.checkpoint_id not in self._left_over]
        return sorted(may_go, key=lambda own: self.rivals(own.lease))[-count:]

    def _is_left_over(self, row: CheckpointRow) -> bool:
        """Say whether nobody has room for a partition: the shares of processes that can run different ones may not fit."""
        now = time.monotonic()
        return now - self._free_since.get(row.id, now) > LEFT_OVER_SECONDS

    def _is_shared(self, partition: CheckpointRow | Lease) -> bool:
        """Say whether it is any process's: to a pinned one its own partitions belong, and with the other pins it shares what has only one."""
        return self._pin is None or partition.partition_count == 1

    def _shared(self, held: Sequence[Own]) -> list[Own]:
        return [own for own in held if self._is_shared(own.lease)]


def fair_share(row_count_by_rivals: Sequence[int]) -> int:
    """Return how many partitions one process should own at most.

    Takes, for each partition it could run, the number of live processes that could run it, itself included. Rounded up, and
    only what is above it is given back, so that nothing moves to and fro.
    """
    return math.ceil(sum(1 / rivals for rivals in row_count_by_rivals) - 1e-9)
