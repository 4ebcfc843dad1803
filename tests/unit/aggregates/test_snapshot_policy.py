"""A snapshot is due when a save reaches or crosses a multiple: hitting it exactly is luck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsource_app.aggregates import SnapshotPolicy


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [
        (0, 9, False),
        (0, 10, True),
        (9, 10, True),
        (9, 11, True),
        (10, 11, False),
        (10, 19, False),
        (5, 35, True),
        (10, 10, False),
    ],
)
def test_crossing_counts(before: int, after: int, due: bool) -> None:
    assert SnapshotPolicy(every=10).is_due(before, after) is due


@given(st.integers(1, 50), st.lists(st.integers(1, 30), max_size=30))
def test_there_are_never_more_versions_without_one_than_the_policy_says(every: int, saves: list[int]) -> None:
    policy, version, last = SnapshotPolicy(every), 0, 0
    for count in saves:
        if policy.is_due(version, version + count):
            last = version + count
        version += count
        assert version - last < every


@pytest.mark.parametrize("every", [0, -1])
def test_nonsense_is_refused(every: int) -> None:
    with pytest.raises(ValueError, match=f"every={every} cannot be"):
        SnapshotPolicy(every)
