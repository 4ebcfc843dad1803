"""Partitions: which aggregates belong to which, and which of them a process may run."""

from dataclasses import dataclass

from eventsource_app.store.slots import SLOTS, get_partition_for_aggregate, slot_of
from eventsource_app.subscriptions.config import ConfigurationError

__all__ = ["SLOTS", "Pin", "get_partition_for_aggregate", "slot_of"]


@dataclass(frozen=True)
class Pin:
    """A process that runs one partition only (``PARTITION_ID`` and ``NUM_PARTITIONS``)."""

    partition: int
    partition_count: int

    def __post_init__(self) -> None:
        if not 0 <= self.partition < self.partition_count:
            raise ConfigurationError(
                f"PARTITION_ID={self.partition} is not below NUM_PARTITIONS={self.partition_count}; count from 0."
            )

    def allows(self, name: str, partition: int, partition_count: int) -> bool:
        """Say whether this process may run a partition; raises for a count that the pin does not fit."""
        if partition_count == 1:
            return True
        if partition_count != self.partition_count:
            raise ConfigurationError(
                f"Subscription {name!r} has {partition_count} partitions, but NUM_PARTITIONS={self.partition_count}; make them equal."
            )
        return partition == self.partition
