"""What health looks at: the rows of one moment, frozen."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Position 1 is never given to an event, so a log whose head is there is empty and nobody is behind it.
EMPTY_LOG_HEAD: Final = 1


@dataclass(frozen=True, slots=True)
class PartitionFacts:
    """One checkpoint row as health sees it; ages and times are by the database's clock."""

    subscription: str
    partition: int
    partition_count: int
    position: int
    state: str
    breaker: str
    owner: str | None
    owner_is_live: bool
    events_processed: int
    events_failed: int
    last_error: str
    last_error_at: datetime | None
    started_at: datetime | None
    lag_seconds: float
    dead_letters: int

    def lag_events(self, head: int) -> int:
        """Distance to the log's head in positions: an upper bound, since positions have gaps."""
        return max(0, head - max(self.position, EMPTY_LOG_HEAD))


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """All that the rows say at one moment, rows ordered by subscription and partition."""

    now: datetime
    head: int
    live_workers: int
    oldest_worker_started_at: datetime | None
    partitions: tuple[PartitionFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorWindow:
    """Failed attempts of one subscription over some minutes."""

    count: int
    minutes: float

    @property
    def rate_per_minute(self) -> float:
        # Two failures in the first second are not a hundred a minute.
        return self.count / max(self.minutes, 1.0)
