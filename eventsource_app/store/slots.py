"""Where an aggregate belongs when a subscription is split: a hash slot that is stored with each event."""

from hashlib import sha256
from uuid import UUID

SLOTS = 1024


def get_partition_for_aggregate(aggregate_id: str | UUID, num_partitions: int) -> int:
    """Return the partition of an aggregate: sha256 of its id's text, modulo ``num_partitions`` (any number from 1)."""
    if num_partitions < 1:
        raise ValueError(f"There is at least one partition, so num_partitions={num_partitions} cannot be.")
    return int.from_bytes(sha256(str(aggregate_id).encode()).digest()) % num_partitions


def slot_of(aggregate_id: UUID) -> int:
    """Return the stored hash slot, 0 to 1023; the partition of N (a power of two) is the slot modulo N."""
    return get_partition_for_aggregate(aggregate_id, SLOTS)
