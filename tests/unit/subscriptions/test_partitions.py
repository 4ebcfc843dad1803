"""Which aggregates belong to which partition, and how many of those a process takes."""

from collections import Counter
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from eventsource_app.subscriptions import ConfigurationError, get_partition_for_aggregate
from eventsource_app.subscriptions.partitions import SLOTS, Pin, slot_of


def by_the_book(aggregate_id: object, count: int) -> int:
    """The tutorial's function, written again."""
    return int(sha256(str(aggregate_id).encode()).hexdigest(), 16) % count


def test_it_is_sha256_of_the_text_modulo_any_number() -> None:
    for count in (1, 2, 3, 7, 8, 100, 1024):
        for _ in range(20):
            aggregate_id = uuid4()
            expected = by_the_book(aggregate_id, count)
            assert get_partition_for_aggregate(aggregate_id, count) == expected
            assert get_partition_for_aggregate(str(aggregate_id), count) == expected


def test_a_known_id_stays_where_it_is() -> None:
    """Stored slots are for ever: this must never change."""
    aggregate_id = UUID("00000000-0000-0000-0000-000000000001")
    assert slot_of(aggregate_id) == by_the_book(aggregate_id, 1024)
    assert [get_partition_for_aggregate(aggregate_id, n) for n in (1, 4, 16)] == [
        0,
        slot_of(aggregate_id) % 4,
        slot_of(aggregate_id) % 16,
    ]


def test_the_slot_gives_every_power_of_two() -> None:
    for _ in range(200):
        aggregate_id = uuid4()
        slot = slot_of(aggregate_id)
        assert 0 <= slot < SLOTS
        for power in range(11):
            assert slot % 2**power == get_partition_for_aggregate(aggregate_id, 2**power)


def test_aggregates_spread_evenly() -> None:
    counts = Counter(get_partition_for_aggregate(UUID(int=n), 8) for n in range(8000))
    assert set(counts) == set(range(8))
    assert all(800 < count < 1200 for count in counts.values())


def test_less_than_one_partition_cannot_be() -> None:
    with pytest.raises(ValueError, match="num_partitions=0"):
        get_partition_for_aggregate(uuid4(), 0)


def test_a_pin_allows_its_partition_and_what_has_only_one() -> None:
    pin = Pin(2, 4)
    assert [pin.allows("orders", partition, 4) for partition in range(4)] == [False, False, True, False]
    assert pin.allows("customers", 0, 1)


def test_a_pin_refuses_another_count_with_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="'orders' has 8 partitions, but NUM_PARTITIONS=4"):
        Pin(2, 4).allows("orders", 2, 8)


@pytest.mark.parametrize(("partition", "count"), [(4, 4), (-1, 4), (0, 0)])
def test_a_pin_that_cannot_be(partition: int, count: int) -> None:
    with pytest.raises(ConfigurationError, match=f"PARTITION_ID={partition}"):
        Pin(partition, count)
