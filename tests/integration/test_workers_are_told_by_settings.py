"""What settings and arguments tell a worker: pins to one partition, and what cannot be, refused with a sentence."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from eventsource_app.models import Checkpoint
from eventsource_app.subscriptions import SubscriptionConfig, SubscriptionManager, get_partition_for_aggregate
from eventsource_app.subscriptions.partitions import Pin
from tests.integration.ledger import NAME, QUICK, Ledger, World
from tests.waiting import wait_for

LONG = "n" * 300  # no folder takes a name so long


def pinned(world: World, pin: Pin, ledger: Ledger | None = None, partitions: int = 4) -> SubscriptionManager:
    manager = SubscriptionManager(event_store=world.store, shutdown_timeout=10, drain_timeout=5, pin=pin)
    manager.on_error(world.errors.append)
    world.managers.append(manager)
    manager.subscribe(ledger or world.ledger, SubscriptionConfig(**QUICK, partitions=partitions), name=NAME)
    return manager


def test_each_runs_its_own_partition_and_does_not_wait_for_the_others(world: World) -> None:
    streams = world.accounts(24)
    expected = {number: set[Any]() for number in range(4)}
    for stream in streams:
        expected[get_partition_for_aggregate(stream.aggregate_id, 4)].add(stream.aggregate_id)
    for number in (2, 0, 3, 1):
        ledger = Ledger()

        pinned(world, Pin(number, 4), ledger).run_until_caught_up()

        assert {aggregate_id for aggregate_id, _ in ledger.attempts} == expected[number]
    world.assert_each_once()


def test_a_subscription_with_one_partition_runs_too(world: World) -> None:
    world.accounts(3)
    manager = pinned(world, Pin(1, 4))
    manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name="single")
    manager.run_until_caught_up()
    assert world.position("single") >= world.store.head_position()


def test_pinned_workers_keep_their_own_partition_and_share_what_has_only_one(world: World) -> None:
    world.accounts(3)
    singles = [f"single-{number}" for number in range(6)]
    managers = [pinned(world, Pin(number, 2), partitions=2) for number in (0, 1)]
    for manager in managers:
        for name in singles:
            manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=name)

    # The first one is alone for a while: it takes all the singles, and then gives the second one its half.
    managers[0].start()
    wait_for(lambda: sorted(owned_by_each(singles).values()) == [6], what="the first one to have all")
    managers[1].start()
    wait_for(lambda: sorted(owned_by_each(singles).values()) == [3, 3], what="both to have half")
    owners = dict(Checkpoint.objects.filter(subscription=NAME).values_list("partition", "owner"))
    assert set(owners) == {0, 1}
    assert set(owners.values()) == set(owned_by_each(singles))


def owned_by_each(names: list[str]) -> Counter[str | None]:
    rows = Checkpoint.objects.filter(subscription__in=names).exclude(owner=None)
    return Counter(rows.values_list("owner", flat=True))


def test_another_number_of_partitions_is_refused_with_a_sentence(world: World) -> None:
    world.accounts(3)
    manager = pinned(world, Pin(1, 2))

    manager.run_until_caught_up()

    assert manager.refused == {
        NAME: "Subscription 'ledger' has 4 partitions, but NUM_PARTITIONS=2; make them equal."
    }
    assert manager.is_blocked
    assert [error.error_message for error in world.errors] == list(manager.refused.values())
    assert list(Checkpoint.objects.exclude(owner=None)) == []
    assert world.delivered() == []


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"PARTITION_ID": 4, "NUM_PARTITIONS": 4}, "PARTITION_ID=4 is not below NUM_PARTITIONS=4"),
        ({"SUBSCRIPTIONS": {"orders": {"batch_sizes": 3}}}, "has unknown fields"),
        ({"SUBSCRIPTIONS": {"orders": {"batch_size": 0}}}, "batch_size=0"),
        ({"ERROR_CALLBACKS": ["no.such.module"]}, "cannot be imported"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(
    transactional_db: None, settings: Any, setting: dict[str, Any], sentence: str
) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, **setting}
    with pytest.raises(CommandError, match=sentence):
        call_command("run_subscriptions", "--until-caught-up")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--processes", "0"], "'0' is not a number from 1"),
        (["--processes", "many"], "'many' is not a number from 1"),
        (["--probe-port", "70000"], "'70000' is not a port from 1 to 65535"),
        (["--probe-port", "http"], "'http' is not a port from 1 to 65535"),
        (["--heartbeat-file", "/no/such/folder/beat"], "the folder of /no/such/folder/beat does not exist"),
        (["--heartbeat-file", "/"], "/ cannot be written"),
        (["--heartbeat-file", f"/{LONG}"], f"/{LONG} cannot be written"),
        (["--heartbeat-file", f"/{LONG}/beat"], f"/{LONG}/beat cannot be written"),
        (["--heartbeat-file", "/proc/self/beat"], "/proc/self/beat cannot be written"),
        (["--shutdown-timeout", "0"], "'0' is not a number of seconds above 0"),
        (["--shutdown-timeout", "soon"], "'soon' is not a number of seconds above 0"),
        (["--drain-timeout", "nan"], "'nan' is not a number of seconds above 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_starts(
    arguments: list[str], sentence: str
) -> None:
    with pytest.raises(CommandError, match=f"argument {arguments[0]}: {sentence}"):
        call_command("run_subscriptions", *arguments)


def test_a_heartbeat_file_that_cannot_be_written_any_more_is_told_and_stops_nothing(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks at the file restarts the process; what it can do till then it does."""
    world.accounts(3)
    file = tmp_path / "folder" / "beat"  # of which the folder has gone
    manager = SubscriptionManager(event_store=world.store, shutdown_timeout=10, heartbeat_file=file)
    world.managers.append(manager)
    manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)

    manager.start()
    world.wait_until_caught_up()
    manager.stop()

    assert "Heartbeat file cannot be touched" in caplog.messages
    assert not [message for message in caplog.messages if "waits for the database" in message]
    world.assert_each_once()


def test_probe_ports_beyond_the_last_one_are_refused_before_anything_starts() -> None:
    with pytest.raises(CommandError, match="the last one would take 65536, above 65535") as refused:
        call_command("run_subscriptions", "--processes", "2", "--probe-port", "65535")
    assert refused.value.returncode == 2


def test_a_name_said_twice_is_one_subscription(transactional_db: None) -> None:
    call_command("run_subscriptions", "orders", "customers", "orders", "--until-caught-up")
    assert sorted(Checkpoint.objects.values_list("subscription", flat=True)) == ["customers", "orders"]
