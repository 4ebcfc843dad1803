"""Throttles that hold across processes: one bucket per caller in PostgreSQL, from which processes take permits in advance.

A bucket holds as many permits as the rate allows in its period and fills evenly. A process takes up to a hundredth of it at
a time with one upsert into an UNLOGGED table and spends that in memory, so most requests write nothing, and together all
processes never allow more than the bucket held. (A process that stops takes what it had not spent with it: a hundredth.)
A caller that was refused is refused from memory until there is a permit again.
"""

import threading
import time
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Final

from eventsource_app.exceptions import EventSourceError
from eventsource_app.http.config import Rate
from eventsource_app.store.session import fetch_one, log_database
from eventsource_app.subscriptions.pruning import DAY_SECONDS, delete_in_chunks, prunable

MAX_LEASE: Final = 100
# What was taken and not spent by then is left alone: its caller has gone elsewhere.
LEASE_SECONDS: Final = 60.0
MAX_CALLERS: Final = 10_000

_FILLED: Final = """least(%(capacity)s::float, t.permits + %(per_second)s::float
    * greatest(0, extract(epoch FROM statement_timestamp() - t.updated_at)::float))"""
TAKE: Final = f"""
INSERT INTO eventsource_app_throttle AS t (caller, permits, granted, updated_at)
VALUES (%(caller)s::text, %(capacity)s::float - %(lease)s::integer, %(lease)s::integer, statement_timestamp())
ON CONFLICT (caller) DO UPDATE SET
    granted = least(%(lease)s::integer, floor({_FILLED}))::integer,
    permits = {_FILLED} - least(%(lease)s::integer, floor({_FILLED})),
    updated_at = greatest(t.updated_at, statement_timestamp())
RETURNING granted, permits
"""  # noqa: S608 - the only value put in is a constant
FORGET: Final = """
DELETE FROM eventsource_app_throttle WHERE caller IN (
    SELECT caller FROM eventsource_app_throttle
     WHERE updated_at < clock_timestamp() - make_interval(secs => %s) LIMIT %s)
"""


class ThrottledError(EventSourceError):
    """The caller has used up its permits; ``retry_after_seconds`` is when the next one comes."""

    def __init__(self, rate: Rate, retry_after_seconds: int) -> None:
        super().__init__(
            f"More than {rate.count} requests in {rate.seconds} s; try again in {retry_after_seconds} s."
        )
        self.retry_after_seconds = retry_after_seconds


@dataclass(slots=True)
class Lease:
    """What this process may let a caller do without asking."""

    permits: int = 0
    until: float = 0.0
    refused_until: float = 0.0


class Throttles:
    """The leases of one process, of one rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._size = min(MAX_LEASE, max(1, rate.count // 100))
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()

    def spend(self, caller: str) -> None:
        """Let one request of the caller through; raises ``ThrottledError``."""
        if self._spend_leased(caller):
            return
        granted, permits = fetch_one(
            log_database(),
            TAKE,
            {
                "caller": caller[:200],
                "capacity": self._rate.count,
                "per_second": self._rate.per_second,
                "lease": self._size,
            },
        )
        self._keep(caller, granted - 1, wait_seconds=(1 - permits) / self._rate.per_second)

    def _spend_leased(self, caller: str) -> bool:
        now = time.monotonic()
        with self._lock:
            lease = self._leases.get(caller)
            if lease is None:
                return False
            if lease.permits > 0 and now < lease.until:
                lease.permits -= 1
                return True
            if now < lease.refused_until:
                raise ThrottledError(self._rate, ceil(lease.refused_until - now))
        return False

    def _keep(self, caller: str, permits: int, wait_seconds: float) -> None:
        now = time.monotonic()
        with self._lock:
            if len(self._leases) >= MAX_CALLERS:
                self._leases.clear()
            lease = self._leases.setdefault(caller, Lease())
            if permits < 0:
                lease.refused_until = now + wait_seconds
                raise ThrottledError(self._rate, max(1, ceil(wait_seconds)))
            # Another thread may have taken some meanwhile.
            lease.permits = permits + (lease.permits if now < lease.until else 0)
            lease.until = now + LEASE_SECONDS


def throttle(caller: str, rate: str) -> None:
    """Let one request of the caller through, at the rate (``600/min``, ``off``); raises ``ThrottledError``."""
    throttles = throttles_of(rate)
    if throttles is not None:
        throttles.spend(caller)


@cache
def throttles_of(rate: str) -> Throttles | None:
    """Return this process's leases of that rate."""
    parsed = Rate.parse(rate)
    return None if parsed is None else Throttles(parsed)


@prunable("idle throttles", DAY_SECONDS)
def _forget_idle(using: str, seconds: float) -> int:
    return delete_in_chunks(using, FORGET, seconds)
