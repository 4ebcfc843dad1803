"""Giving partitions back: just what is above the share, and nothing for workers that are on their way out."""

from typing import Any, cast

import pytest

from eventsource_app.subscriptions.checkpoints import CheckpointRow, Lease
from eventsource_app.subscriptions.ownership import Ownership


class Owned:
    """As much of a worker as a rebalance looks at."""

    def __init__(self, partition: int, *, subscription: str = "orders", is_leaving: bool = False) -> None:
        self.lease = Lease(partition, subscription, partition, 8, 1, 0)
        self.is_leaving = is_leaving

    def leave(self) -> None:
        self.is_leaving = True


def ownership_of(workers: list[Owned], live: dict[str, int]) -> Ownership:
    ownership = Ownership("default", "me", dict, cast("Any", None), cast("Any", None))
    ownership._workers = cast("Any", {worker.lease.checkpoint_id: worker for worker in workers})
    ownership._live = live
    return ownership


def gives_back(workers: list[Owned], share: int, **live: int) -> list[int]:
    """Return the partitions that are asked to leave for a share of so many; ``live`` is how many processes can run each."""
    before = {worker.lease.partition for worker in workers if worker.is_leaving}
    ownership_of(workers, live)._give_back(share)
    return [w.lease.partition for w in workers if w.is_leaving and w.lease.partition not in before]


def test_what_is_above_the_share_leaves_the_latest_taken_first() -> None:
    assert gives_back([Owned(number) for number in range(6)], share=4) == [4, 5]


def test_nothing_leaves_within_the_share() -> None:
    assert gives_back([Owned(number) for number in range(4)], share=4) == []


def test_one_that_still_finishes_its_batch_is_not_replaced_by_another() -> None:
    leaving = [Owned(4, is_leaving=True), Owned(5, is_leaving=True)]
    assert gives_back([*(Owned(number) for number in range(4)), *leaving], share=4) == []


def test_what_nobody_else_can_run_stays() -> None:
    workers = [Owned(0), Owned(1), Owned(2, subscription="payments"), Owned(3)]
    assert gives_back(workers, share=3, orders=2, payments=1) == [3]
    assert gives_back(workers, share=1, orders=2, payments=1) == [0, 1]


@pytest.mark.parametrize(("subscription", "wanted"), [("payments", True), ("orders", False)])
def test_what_nobody_else_can_run_is_taken_beyond_the_share(subscription: str, wanted: bool) -> None:
    """In exchange: what others can run is given back for it."""
    ownership = ownership_of([Owned(0), Owned(1)], {"orders": 2, "payments": 1})
    free = CheckpointRow(7, subscription, 0, 1, 0, "running", "", "closed", None, None, leased=False)
    assert ownership._wants(free, share=2) is wanted
