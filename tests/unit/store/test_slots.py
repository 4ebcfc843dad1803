"""Where an aggregate belongs does not depend on the process, the run or the number of partitions."""

from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsource_app.store.slots import SLOTS, get_partition_for_aggregate, slot_of

KNOWN = UUID("12345678-1234-5678-1234-567812345678")


def test_it_is_the_tutorials_function() -> None:
    expected = int(sha256(str(KNOWN).encode()).hexdigest(), 16) % 7
    assert get_partition_for_aggregate(str(KNOWN), 7) == get_partition_for_aggregate(KNOWN, 7) == expected


def test_it_never_changes() -> None:
    """Stored slots stand for ever."""
    assert [slot_of(KNOWN), slot_of(UUID(int=0)), slot_of(UUID(int=1))] == [333, 168, 82]


@given(st.uuids(), st.integers(0, 10).map(lambda power: 2**power))
def test_a_partition_of_a_power_of_two_is_the_slot_modulo_it(aggregate_id: UUID, count: int) -> None:
    assert slot_of(aggregate_id) % count == get_partition_for_aggregate(aggregate_id, count)
    assert 0 <= slot_of(aggregate_id) < SLOTS


def test_no_partitions_are_refused() -> None:
    with pytest.raises(ValueError, match="num_partitions=0 cannot be"):
        get_partition_for_aggregate(KNOWN, 0)
