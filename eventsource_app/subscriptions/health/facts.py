"""What health looks at: the rows of one moment, frozen."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

# Position 1 is never given to an event, so a log whose head is there is empty and nobody is behind it.
EMPTY_LOG_HEAD: Final = 1
# A rate over fewer minutes would make two failures in a second a hundred a minute.
RATE_MINUTES: Final = 5


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
    epoch: int
    events_processed: int
    events_failed: int
    retry_count: int
    batch_count: int
    last_error: str
    last_error_at: datetime | None
    started_at: datetime | None
    lag_seconds: float
    # How long events have waited while the position stood still, though it ought to move.
    frozen_seconds: float
    # Open dead letters by state.
    parked: int
    retrying: int
    dead: int
    # Failed attempts of the whole subscription, over all its partitions.
    failed_in_last_hour: int
    failed_in_last_minutes: int

    @property
    def dead_letters(self) -> int:
        return self.parked + self.retrying + self.dead

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
    # The oldest transaction that has appended and is not over: nobody reads past it.
    fence_age_seconds: float = 0.0
    fence_pid: int | None = None
    partitions: tuple[PartitionFacts, ...] = ()
