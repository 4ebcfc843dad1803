"""Turns: who makes room, and for how many."""

import time
from dataclasses import dataclass, field

import pytest

from eventsource_app.subscriptions import turns
from eventsource_app.subscriptions.checkpoints import Lease
from eventsource_app.subscriptions.turns import TURN_SECONDS, Turns


@dataclass
class Running:
    """As much of a worker as turns look at."""

    name: str
    seconds: float = 2 * TURN_SECONDS
    has_caught_up: bool = False
    is_leaving: bool = False
    lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        self.lease = Lease(hash(self.name), "orders", 0, 8, 1, 0)


def ended(running: list[Running], waiting: int) -> list[str]:
    taken = Turns("default")
    taken._taken_at = {own.lease.checkpoint_id: time.monotonic() - own.seconds for own in running}
    return [own.name for own in taken.ended(running, waiting)]


def test_as_many_make_room_as_wait_the_longest_running_first() -> None:
    running = [Running("a"), Running("b", 4 * TURN_SECONDS), Running("c", 3 * TURN_SECONDS)]
    assert ended(running, waiting=2) == ["b", "c"]
    assert ended(running, waiting=0) == []
    assert sorted(ended(running, waiting=9)) == ["a", "b", "c"]


def test_what_has_caught_up_goes_at_once_and_before_what_has_not() -> None:
    running = [Running("behind", 9 * TURN_SECONDS), Running("there", 0, has_caught_up=True)]
    assert ended(running, waiting=1) == ["there"]


def test_a_turn_lasts_a_while() -> None:
    assert ended([Running("new", TURN_SECONDS / 2)], waiting=1) == []


def test_one_that_is_leaving_makes_room_already() -> None:
    assert ended([Running("leaving", is_leaving=True), Running("a")], waiting=1) == []


@pytest.mark.parametrize(("processes", "room"), [(0, 75), (1, 75), (2, 37), (75, 1), (500, 1)])
def test_processes_share_three_quarters_of_the_servers_connections(
    monkeypatch: pytest.MonkeyPatch, processes: int, room: int
) -> None:
    monkeypatch.setattr(turns, "fetch_one", lambda *_: (100,))
    assert Turns("default").room(processes) == room
