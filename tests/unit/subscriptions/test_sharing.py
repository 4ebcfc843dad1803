"""Sharing: just what is above the share goes, and nothing of what is on its way out already."""

import pytest

from eventsource_app.subscriptions.checkpoints import CheckpointRow, Lease
from eventsource_app.subscriptions.sharing import Sharing, fair_share


class Owned:
    """As much of a worker as sharing looks at."""

    def __init__(self, partition: int, *, subscription: str = "orders", is_leaving: bool = False) -> None:
        self.lease = Lease(partition, subscription, partition, 8, 1, 0)
        self.is_leaving = is_leaving


def row_of(number: int, subscription: str = "orders", *, leased: bool = True) -> CheckpointRow:
    return CheckpointRow(
        number, subscription, number, 8, 0, "running", "", "closed", None, None, leased=leased
    )


def a_look(partitions: dict[str, int], live: dict[str, int]) -> Sharing:
    """Return what a process knows that can run so many partitions of each subscription, as so many live ones can."""
    sharing = Sharing()
    rows = [row_of(number, name) for name, count in partitions.items() for number in range(count)]
    sharing.look(rows, (), live)
    return sharing


def excess(sharing: Sharing, held: list[Owned]) -> list[int]:
    return [own.lease.partition for own in sharing.excess(held)]


def test_what_is_above_the_share_leaves_the_latest_taken_first() -> None:
    assert excess(a_look({"orders": 8}, {"orders": 2}), [Owned(number) for number in range(6)]) == [4, 5]


def test_nothing_leaves_within_the_share() -> None:
    assert excess(a_look({"orders": 8}, {"orders": 2}), [Owned(number) for number in range(4)]) == []


def test_one_that_still_finishes_its_batch_is_not_replaced_by_another() -> None:
    held = [Owned(number, is_leaving=number > 3) for number in range(6)]
    assert excess(a_look({"orders": 8}, {"orders": 2}), held) == []


def test_what_nobody_else_can_run_stays() -> None:
    held = [Owned(0), Owned(1), Owned(2, subscription="payments"), Owned(3)]
    assert excess(a_look({"orders": 4, "payments": 1}, {"orders": 2, "payments": 1}), held) == [3]
    assert excess(a_look({"orders": 4, "payments": 1}, {"orders": 4, "payments": 1}), held) == [1, 3]


@pytest.mark.parametrize(("subscription", "wanted"), [("payments", True), ("orders", False)])
def test_what_nobody_else_can_run_is_taken_beyond_the_share(subscription: str, wanted: bool) -> None:
    """In exchange: what others can run is given back for it."""
    sharing = a_look({"orders": 2, "payments": 1}, {"orders": 2, "payments": 1})
    assert sharing.wants(row_of(7, subscription, leased=False), [Owned(0), Owned(1)]) is wanted


@pytest.mark.parametrize(
    ("rivals", "share"),
    [
        ([], 0),
        ([1], 1),
        ([2], 1),
        ([1] * 8, 8),
        ([2] * 8, 4),
        ([3] * 8, 3),
        ([3] * 9, 3),
        ([10] * 10, 1),
        ([7] * 7 * 7, 7),
        ([1, 2, 2], 2),
    ],
)
def test_a_fair_share_is_rounded_up_and_covers_all(rivals: list[int], share: int) -> None:
    assert fair_share(rivals) == share


@pytest.mark.parametrize("workers", range(1, 40))
def test_shares_together_cover_all_partitions_and_no_more_than_a_round(workers: int) -> None:
    for partitions in (1, 2, 8, 64, 1024):
        share = fair_share([workers] * partitions)
        assert partitions <= share * workers < partitions + workers
