"""When a goal is met: all partitions that matter have come so far."""

from uuid import UUID

import pytest

from eventsource_app.http.reached import Bell, Goal
from eventsource_app.store.slots import slot_of

ORDER = UUID("0190a000-0000-7000-8000-000000000001")
MINE = slot_of(ORDER) % 4


@pytest.mark.parametrize(
    ("positions", "of_the_order", "of_all"),
    [
        ({}, False, False),
        ({MINE: 10}, True, True),
        ({MINE: 9}, False, False),
        ({MINE: 10, (MINE + 1) % 4: 3}, True, False),
        ({MINE: 9, (MINE + 1) % 4: 30}, False, False),
        ({MINE: 11, (MINE + 1) % 4: 10}, True, True),
    ],
)
def test_a_goal(positions: dict[int, int], of_the_order: bool, of_all: bool) -> None:
    rows = [("orders", partition, 4, position) for partition, position in positions.items()]
    rows.append(("customers", 0, 1, 99))
    assert Goal("orders", 10, ORDER).is_met(rows) is of_the_order
    assert Goal("orders", 10).is_met(rows) is of_all


def test_a_bell_may_ring_often_and_in_vain() -> None:
    bell = Bell()
    bell.silence()
    for _ in range(100_000):
        bell.ring()
    bell.silence()
