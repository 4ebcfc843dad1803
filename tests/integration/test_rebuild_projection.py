"""A rebuild empties the read model and replays the log into it while workers run, and never claims to be done before."""

import signal
import subprocess
import sys
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from eventsource_app.management.commands import rebuild_projection
from eventsource_app.models import Checkpoint
from eventsource_app.subscriptions import Projection, SubscriptionConfig, SubscriptionManager, control
from eventsource_app.subscriptions import declared_subscriptions as declared
from eventsource_app.subscriptions.control import ControlError, UnknownSubscriptionError
from eventsource_app.subscriptions.errors import BlockLeftOpenError
from eventsource_app.subscriptions.rebuilding import finish_rebuild, rebuild, rebuild_progress
from eventsource_app.subscriptions.registry import Subscription
from orders.commands import PlaceOrder
from orders.services import place_order
from projections.models import OrderSummary
from projections.order_summary import OrderSummaryProjection
from tests.integration.ledger import NAME, QUICK, Gate, Ledger, World, in_background, run_sql
from tests.waiting import wait_for

LATER: dict[str, Any] = {"initial_retry_delay": 3600, "max_retry_delay": 3600}
WHO = "ada"


class RebuildableLedger(Ledger):
    def reset(self) -> None:
        run_sql("DELETE FROM ledger_line")


@pytest.fixture
def shop(world: World) -> World:
    world.ledger = RebuildableLedger()
    return world


def code(world: World, projection: Projection | None = None, **config: Any) -> dict[str, Subscription]:
    merged = SubscriptionConfig(**{**QUICK, **LATER, **config})
    return {NAME: Subscription(NAME, projection or world.ledger, merged)}


def begin(world: World, **config: Any) -> Any:
    return rebuild(NAME, WHO, store=world.store, subscriptions=code(world, **config))


def test_workers_replay_the_whole_log(shop: World) -> None:
    shop.accounts(20)
    shop.start(partitions=2)
    shop.wait_until_caught_up()
    target = shop.store.head_position()

    begun = begin(shop)

    assert (begun.from_position, begun.target, begun.previous_state) == (0, target, "running")
    wait_for(lambda: rebuild_progress(NAME).is_done)
    shop.wait_until_caught_up()
    shop.assert_each_once()
    assert finish_rebuild(NAME)
    assert set(Checkpoint.objects.values_list("rebuild_target", "rebuild_started_at")) == {(None, None)}


def test_while_events_come_in_and_a_batch_runs(shop: World) -> None:
    streams = shop.accounts(10)
    with Gate() as gate:
        shop.ledger.traps[streams[5].aggregate_id, 1] = gate
        shop.start(batch_size=3)
        gate.wait_until_reached()
        thread = in_background(lambda: begin(shop))
        shop.accounts(3)
    thread.join()
    shop.accounts(3)
    shop.wait_until_caught_up()
    shop.assert_each_once()


def test_it_is_one_transaction(shop: World) -> None:
    class Broken(RebuildableLedger):
        def reset(self) -> None:
            super().reset()
            raise ValueError("half way")

    shop.accounts(3)
    shop.catch_up()
    before = Checkpoint.objects.values().get()
    with pytest.raises(ValueError, match="half way"):
        rebuild(NAME, WHO, store=shop.store, subscriptions=code(shop, Broken()))
    assert Checkpoint.objects.values().get() == before
    shop.assert_each_once()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_reset_that_ends_the_transaction_is_refused(shop: World, end: str) -> None:
    """Workers could write between its end and the checkpoint's move, and the replay would write it again."""

    class Ending(RebuildableLedger):
        def reset(self) -> None:
            super().reset()
            run_sql(end)

    shop.accounts(3)
    shop.catch_up()
    before = Checkpoint.objects.values().get()
    with pytest.raises(ControlError, match="ended the transaction that moves the checkpoint"):
        rebuild(NAME, WHO, store=shop.store, subscriptions=code(shop, Ending()))
    assert Checkpoint.objects.values().get() == before
    begin(shop)
    shop.catch_up()
    shop.assert_each_once()


def test_a_reset_that_leaves_a_block_open_locks_nothing(shop: World) -> None:
    class Opening(RebuildableLedger):
        def reset(self) -> None:
            super().reset()
            transaction.atomic().__enter__()

    shop.accounts(3)
    shop.catch_up()
    with pytest.raises(BlockLeftOpenError):
        rebuild(NAME, WHO, store=shop.store, subscriptions=code(shop, Opening()))
    shop.accounts(1)
    shop.catch_up()
    shop.assert_each_once()


def test_every_letter_is_closed_and_its_event_comes_again(shop: World) -> None:
    (poisoned, _other) = shop.accounts(2)
    shop.pay_in(poisoned, 2)
    shop.ledger.fails_at(poisoned, 1, ValueError("poison"))
    shop.catch_up(**LATER)
    shop.ledger.is_fixed()

    assert begin(shop).closed_letter_count == 1

    letter = shop.letter()
    assert (letter.state, letter.closed_by, letter.next_retry_at) == ("resolved", WHO, None)
    assert "rebuilt" in letter.close_reason
    shop.catch_up()
    shop.assert_each_once()
    assert shop.versions(poisoned) == [1, 2, 3]


def test_interrupted_it_shows_as_unfinished_and_goes_on(shop: World) -> None:
    shop.accounts(5)
    shop.catch_up()
    begin(shop)

    progress = rebuild_progress(NAME)
    assert (progress.is_done, progress.done_count, progress.obstacle) == (False, 0, "")
    assert not finish_rebuild(NAME)
    assert shop.checkpoint().rebuild_target == progress.target

    shop.catch_up()
    assert rebuild_progress(NAME).is_done
    shop.assert_each_once()


def test_begun_again_it_starts_over(shop: World) -> None:
    shop.accounts(5)
    shop.catch_up()
    begin(shop)
    shop.catch_up()
    begin(shop)
    assert shop.delivered() == []
    shop.catch_up()
    shop.assert_each_once()


def test_a_paused_subscription_runs_again(shop: World) -> None:
    shop.accounts(2)
    shop.catch_up()
    control.pause(NAME, WHO)
    assert begin(shop).previous_state == "paused"
    shop.catch_up()
    shop.assert_each_once()


def test_it_is_the_way_out_of_a_checkpoint_ahead_of_the_log(shop: World) -> None:
    shop.accounts(2)
    shop.catch_up()
    Checkpoint.objects.update(position=10**9)
    manager = shop.start()
    assert "rebuild_projection" in manager.refused[NAME]
    manager.stop()
    begin(shop)
    assert not shop.catch_up().forced
    shop.assert_each_once()


def test_it_is_the_way_out_of_handled_types_that_grew(shop: World) -> None:
    shop.accounts(2)
    shop.catch_up()
    Checkpoint.objects.update(handled_types=["NoteTaken"])
    begin(shop)
    assert shop.checkpoint().handled_types == ["MoneyPaidIn"]
    shop.catch_up()
    shop.assert_each_once()


def test_a_position_to_start_from_holds_for_a_rebuild_too(shop: World) -> None:
    shop.accounts(4)
    log = shop.log()
    shop.catch_up(start_from=log[1])
    assert begin(shop, start_from=log[1]).from_position == log[1]
    shop.catch_up()
    assert shop.delivered() == log[2:]


def test_without_reset_it_is_refused_and_nothing_changes(world: World) -> None:
    world.accounts(1)
    world.catch_up()
    with pytest.raises(ControlError, match=r"Ledger cannot be rebuilt: give it a reset\(\)"):
        begin(world)
    assert world.position() == world.store.head_position()


def test_unknown_names_are_told_with_the_known_ones(shop: World) -> None:
    with pytest.raises(UnknownSubscriptionError, match="known are: customers, orders"):
        rebuild("order", WHO)
    with pytest.raises(UnknownSubscriptionError, match="has a checkpoint; known are: none"):
        begin(shop)


@pytest.fixture
def orders(transactional_db: None) -> int:
    """Three orders, handled, and a read model that went wrong; no worker runs."""
    for number in range(3):
        place_order(PlaceOrder(f"cust-{number}", Decimal("1.00")))
    run_orders()
    OrderSummary.objects.update(customer_id="wrong")
    return 3


def run_orders() -> None:
    manager = SubscriptionManager()
    found = declared()["orders"]
    manager.subscribe(found.projection, found.config, "orders")
    manager.run_until_caught_up()


def test_the_command_replays_by_itself_when_no_worker_lives(orders: int) -> None:
    out = StringIO()
    call_command("rebuild_projection", "orders", stdout=out)
    assert sorted(OrderSummary.objects.values_list("customer_id", flat=True)) == [
        "cust-0",
        "cust-1",
        "cust-2",
    ]
    assert "orders is rebuilt." in out.getvalue()
    row = Checkpoint.objects.get(subscription="orders")
    assert (row.owner, row.rebuild_target) == (None, None)
    assert row.state_changed_by.count("@") == 1


def test_the_command_leaves_it_to_workers_that_live(orders: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_projection.Command, "_start_worker", lambda *_: pytest.fail("no need to"))
    manager = SubscriptionManager()
    found = declared()["orders"]
    manager.subscribe(found.projection, found.config, "orders")
    manager.start()
    try:
        call_command("rebuild_projection", "orders", stdout=StringIO())
    finally:
        manager.stop()
    assert OrderSummary.objects.exclude(customer_id="wrong").count() == orders


def test_the_command_can_leave_it_to_workers_to_come(orders: int) -> None:
    call_command("rebuild_projection", "orders", "--no-wait", stdout=StringIO())
    assert not OrderSummary.objects.exists()
    run_orders()
    assert OrderSummary.objects.count() == orders


def test_the_command_says_what_keeps_it_from_going_on(orders: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_projection, "has_live_worker", lambda *_, **__: pause_it())

    def pause_it() -> bool:
        control.pause("orders", WHO)
        return True

    with pytest.raises(CommandError, match="orders is paused at position 0 of"):
        call_command("rebuild_projection", "orders", stdout=StringIO())
    assert not rebuild_progress("orders").is_done


def test_the_command_says_why_its_own_worker_may_not_replay(
    orders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "partition": part} for part in (0, 1) for row in Checkpoint.objects.values()]
    Checkpoint.objects.all().delete()
    for row in rows:
        Checkpoint.objects.create(**{**row, "id": None, "partition_count": 2})
    monkeypatch.setattr(OrderSummaryProjection, "max_partitions", 1)

    with pytest.raises(CommandError, match=r"orders is emptied and cannot be replayed: .*change_partitions"):
        call_command("rebuild_projection", "orders", stdout=StringIO())


def test_an_unknown_name_is_a_usage_error(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="known are: customers, orders") as caught:
        call_command("rebuild_projection", "nothing")
    assert caught.value.returncode == 2


def test_a_signal_ends_the_command_and_the_rebuild_goes_on(
    orders: int, process_environment: dict[str, str]
) -> None:
    """It waits for a worker that never comes, so it can only be interrupted in the middle."""
    script = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from eventsource_app.management.commands import rebuild_projection as command\n"
        "command.has_live_worker = lambda *a, **k: print('waiting', flush=True) or True\n"
        "import sys\n"
        "from django.core.management.base import CommandError\n"
        "try:\n    call_command('rebuild_projection', 'orders')\n"
        "except CommandError as error:\n    print(error, flush=True); sys.exit(error.returncode)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=process_environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "starts over at 0" in process.stdout.readline()
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(30) == 143
    assert "Interrupted at position 0 of" in rest
    assert not rebuild_progress("orders").is_done
    run_orders()
    assert rebuild_progress("orders").is_done
    assert OrderSummary.objects.exclude(customer_id="wrong").count() == orders


def test_progress_is_logged_where_there_is_no_terminal(orders: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "eventsource.progress")
    call_command("rebuild_projection", "orders", stdout=StringIO())
    (record,) = [r for r in caplog.records if r.name == "eventsource.progress"]
    assert vars(record)["done_count"] == vars(record)["total_count"]
    assert vars(record)["per_second"] >= 0
