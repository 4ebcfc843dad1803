"""With more partitions than the server has connections for them, a process runs a few at a time: none is left out."""

import pytest

from eventsource_app.models import Checkpoint
from eventsource_app.subscriptions import turns
from tests.integration.ledger import NAME, World
from tests.waiting import wait_for

PARTITIONS, ROOM = 8, 2


@pytest.fixture(autouse=True)
def few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_CONNECTIONS", f"SELECT {ROOM}")
    monkeypatch.setattr(turns, "WORKERS_PART", 1)
    monkeypatch.setattr(turns, "TURN_SECONDS", 1.0)


def owned() -> int:
    return Checkpoint.objects.filter(subscription=NAME, owner__isnull=False).count()


def test_all_events_are_handled_once_in_order_with_a_few_partitions_at_a_time(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    streams = world.accounts(2 * PARTITIONS)
    world.start(partitions=PARTITIONS)
    at_once: list[int] = []

    def all_delivered(count: int) -> bool:
        at_once.append(owned())
        return len(world.delivered()) == count

    wait_for(lambda: all_delivered(len(streams)), what="the first round")
    for stream in streams:
        world.pay_in(stream, 2)
    wait_for(lambda: all_delivered(3 * len(streams)), what="the second round")

    world.assert_each_once()
    assert max(at_once) <= ROOM
    (told,) = [record for record in caplog.records if record.message == "Partitions take turns"]
    assert "8 partitions want a connection each, and 2 are" in told.__dict__["error_message"]


def test_a_command_that_catches_up_brings_all_of_them_to_the_end(world: World) -> None:
    streams = world.accounts(2 * PARTITIONS)
    world.catch_up(partitions=PARTITIONS)
    assert len(world.delivered()) == len(streams)
    assert owned() == 0
