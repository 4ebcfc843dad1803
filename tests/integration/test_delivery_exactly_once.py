"""Each event reaches the read model once: whatever the strategy, whatever breaks, whoever owns the lease."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from django.db import transaction

from eventsource_app.models import Checkpoint
from eventsource_app.subscriptions import (
    CheckpointStrategy,
    SubscriptionConfig,
    SubscriptionManager,
    checkpoints,
)
from eventsource_app.subscriptions.checkpoints import Counts
from eventsource_app.subscriptions.interruptions import LeaseLostError
from tests.integration.ledger import (
    NAME,
    QUICK,
    BatchLedger,
    Gate,
    Ledger,
    World,
    in_background,
    query,
    run_sql,
)
from tests.waiting import wait_for

STRATEGIES = list(CheckpointStrategy)
OTHER_BACKENDS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.value)
def test_every_strategy_delivers_each_event_once_and_in_order(
    world: World, strategy: CheckpointStrategy
) -> None:
    streams = world.accounts(25)
    for stream in streams:
        world.pay_in(stream, 7)

    world.catch_up(checkpoint_strategy=strategy)

    assert world.delivered() == world.log()
    checkpoint = world.checkpoint()
    assert checkpoint.events_processed == 200
    commits = checkpoint.batch_count
    if strategy is CheckpointStrategy.EVERY_EVENT:
        assert commits >= 200, "a commit for each event"
    else:
        assert commits <= 40, "a commit for each batch of ten, and for stretches without events"


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.value)
@pytest.mark.parametrize("in_batches", [False, True], ids=["by event", "by batch"])
def test_connections_that_are_cut_again_and_again_cost_nothing(
    world: World, strategy: CheckpointStrategy, in_batches: bool
) -> None:
    streams = world.accounts(10)
    projection = BatchLedger() if in_batches else world.ledger
    manager = world.start(projection, checkpoint_strategy=strategy)
    for _ in range(6):
        for stream in streams:
            world.pay_in(stream, 8)
        before = world.position()
        run_sql(OTHER_BACKENDS)
        wait_for(partial(has_moved, world, before), what="recovery by itself")

    world.wait_until_caught_up()

    assert manager.liveness_check().alive
    assert world.letters() == []
    assert len(world.log()) == 10 + 6 * 80
    assert world.delivered() == world.log()


def has_moved(world: World, before: int) -> bool:
    return world.position() > before


def test_a_connection_cut_inside_a_handler_is_not_the_events_fault(world: World) -> None:
    stream, *_ = world.accounts(3)
    cuts = 2

    def cut_ones_own_connection() -> None:
        nonlocal cuts
        if cuts:
            cuts -= 1
            query("SELECT pg_terminate_backend(pg_backend_pid())")

    world.ledger.traps[stream.aggregate_id, 1] = cut_ones_own_connection
    world.catch_up()

    assert cuts == 0
    assert world.letters() == []
    world.assert_each_once()


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit])
def test_a_hook_that_fails_after_the_commit_is_reported_and_nothing_is_replayed(
    world: World, caplog: pytest.LogCaptureFixture, raised: type[BaseException]
) -> None:
    streams = world.accounts(5)

    def fail() -> None:
        raise raised("the mail server is away")

    world.ledger.traps[streams[2].aggregate_id, 1] = lambda: transaction.on_commit(fail)
    with caplog.at_level(logging.ERROR):
        world.catch_up()

    assert world.delivered() == world.log()
    assert len(world.ledger.attempts) == 5
    assert world.letters() == []
    (line,) = [record for record in caplog.records if "on_commit hook failed" in record.getMessage()]
    assert vars(line)["error_message"] == "the mail server is away"


def test_a_stolen_lease_ends_the_owners_work_at_its_next_attempt(world: World) -> None:
    """The thief waits for the running attempt (it holds the row), and the owner then finds another epoch."""
    # Many events: between two attempts the owner may be faster than a thief that was just woken.
    streams = world.accounts(300)
    with Gate() as gate:
        world.ledger.traps[streams[4].aggregate_id, 1] = gate
        world.start(checkpoint_strategy=CheckpointStrategy.EVERY_EVENT)
        gate.wait_until_reached()
        thief = in_background(
            lambda: run_sql(
                "UPDATE eventsource_app_checkpoint SET owner = 'thief', epoch = epoch + 1, "
                "lease_expires_at = now() + interval '1 hour'"
            )
        )
        wait_for(lambda: query(WAITING), what="the thief to wait")
        assert Checkpoint.objects.get().owner != "thief"
    thief.join()

    wait_for(lambda: not any("ledger" in name for name in thread_names()), what="the owner to step back")
    log = world.log()
    assert world.checkpoint().owner == "thief"
    assert world.delivered() == log[: len(world.delivered())]
    assert world.position() == log[len(world.delivered()) - 1]
    assert 5 <= len(world.delivered()) < 300

    run_sql("UPDATE eventsource_app_checkpoint SET lease_expires_at = now()")  # the thief dies
    world.wait_until_caught_up()
    assert world.delivered() == log


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_stale_epochs_commit_is_refused_with_all_that_it_wrote(world: World) -> None:
    world.accounts(1)
    world.catch_up()
    (row,) = checkpoints.find("default", [NAME])
    old = checkpoints.claim("default", row, "one", 10)
    assert old is not None
    run_sql("UPDATE eventsource_app_checkpoint SET lease_expires_at = now()")
    new = checkpoints.claim("default", row, "two", 10)
    assert new is not None
    assert new.epoch > old.epoch
    before = world.delivered()

    for act in (
        lambda: checkpoints.advance("default", old, old.position, old.position + 1, Counts(), 10),
        lambda: checkpoints.lock("default", old),
        lambda: checkpoints.renew("default", old, 10),
        lambda: checkpoints.mark("default", old, old.position),
    ):
        with pytest.raises(LeaseLostError, match="ledger"):
            write_and(act)

    assert world.delivered() == before
    assert world.position() == old.position
    assert checkpoints.release("default", old) is False
    assert world.checkpoint().owner == "two"


def write_and(act: Callable[[], object]) -> None:
    with transaction.atomic():
        run_sql("INSERT INTO ledger_line (position, aggregate_id, version) VALUES (0, gen_random_uuid(), 1)")
        act()


def test_a_running_attempt_is_never_stolen_however_late_it_is(world: World) -> None:
    (stream,) = world.accounts(1)
    with Gate() as gate:
        world.ledger.traps[stream.aggregate_id, 1] = gate
        manager = world.manager(lease_seconds=0.2)
        manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)
        manager.start()
        gate.wait_until_reached()
        wait_for(lambda: not checkpoints.find("default", [NAME])[0].leased, what="the lease to run out")
        (row,) = checkpoints.find("default", [NAME])
        assert checkpoints.claim("default", row, "other", 10) is None
    world.wait_until_caught_up()
    world.assert_each_once()


def test_the_checkpoint_never_moves_back(world: World) -> None:
    world.accounts(1)
    world.catch_up()
    (row,) = checkpoints.find("default", [NAME])
    lease = checkpoints.claim("default", row, "one", 10)
    assert lease is not None
    with pytest.raises(ValueError, match="cannot go back"):
        checkpoints.advance("default", lease, lease.position, lease.position - 1, Counts(), 10)


def test_two_managers_of_one_name_deliver_once(world: World) -> None:
    streams = world.accounts(10)
    first, second = world.start(Ledger()), world.start(Ledger())
    for stream in streams:
        world.pay_in(stream, 10)
    world.wait_until_caught_up()
    first.stop()
    for stream in streams:
        world.pay_in(stream, 10)
    world.wait_until_caught_up()
    second.stop()
    assert world.delivered() == world.log()


def test_what_only_one_process_can_run_is_not_given_back_for_what_others_can(world: World) -> None:
    """One process runs three subscriptions, another one that comes to help runs two of them."""

    def manager(names: str) -> SubscriptionManager:
        manager = world.manager()
        for name in names:
            manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=name)
        return manager

    def owners() -> dict[str, str | None]:
        return dict(Checkpoint.objects.values_list("subscription", "owner"))

    everything, helper = manager("abc"), manager("ab")
    everything.start()
    wait_for(lambda: set(owners().values()) == {everything.worker_id}, what="all three")
    helper.start()
    wait_for(lambda: helper.worker_id in owners().values(), what="its part")

    assert owners()["c"] == everything.worker_id
    assert sorted(owners().values(), key=str) == sorted([everything.worker_id] * 2 + [helper.worker_id])


def test_no_partition_is_left_over_by_processes_that_can_run_different_ones(world: World) -> None:
    """The first one gives back what the third has no room for, and keeps what only the second has room for."""
    world.accounts(3)
    managers = [world.manager() for _ in range(3)]
    for manager, names in zip(managers, ("abcd", "ab", "cd"), strict=True):
        for name in names:
            manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=name)

    managers[0].start()
    wait_for(lambda: owners("abcd").keys() == set("abcd"), what="the first one to have all")
    for manager in managers[1:]:
        manager.start()
    wait_for(lambda: len(set(owners("abcd").values())) > 1, what="the first one to have given some back")
    wait_for(_all_stay_with_their_owners, 30, what="all to have an owner, and nothing to move to and fro")


def _all_stay_with_their_owners() -> bool:
    """What is given back goes round once; then nobody's epoch changes in four rounds."""
    epochs = dict(Checkpoint.objects.values_list("subscription", "epoch"))
    time.sleep(2)
    stays = dict(Checkpoint.objects.values_list("subscription", "epoch")) == epochs
    return stays and owners("abcd").keys() == set("abcd")


def owners(names: str) -> dict[str, str | None]:
    rows = Checkpoint.objects.filter(subscription__in=names).exclude(owner=None)
    return dict(rows.values_list("subscription", "owner"))


def test_a_checkpoint_that_somebody_moved_is_believed(world: World) -> None:
    """The position is read from the row in each attempt: a reset while a worker idles replays the log."""
    world.accounts(5)
    world.start()
    world.wait_until_caught_up()
    log = world.log()

    run_sql("UPDATE eventsource_app_checkpoint SET position = %s", [log[2]])

    wait_for(lambda: len(world.delivered()) == 7, what="a replay")
    assert world.delivered() == [*log, *log[3:]]


def test_a_reset_between_two_attempts_is_believed(world: World) -> None:
    """Whatever was read ahead, and whatever memory says: the next attempt begins at the row's position."""
    streams = world.accounts(10)
    log = world.log()
    with Gate() as gate:
        world.ledger.traps[streams[4].aggregate_id, 1] = gate
        world.start(checkpoint_strategy=CheckpointStrategy.EVERY_EVENT)
        gate.wait_until_reached()
        reset = in_background(
            lambda: run_sql("UPDATE eventsource_app_checkpoint SET position = %s", [log[0]])
        )
        wait_for(lambda: query(WAITING), what="the reset to wait")
    reset.join()

    wait_for(lambda: world.delivered().count(log[1]) == 2 and world.position() >= log[-1], what="a replay")
    before = len(world.delivered()) - 9
    assert before >= 5
    assert world.delivered() == [*log[:before], *log[1:]]


def test_a_paused_subscription_waits_and_goes_on(world: World) -> None:
    world.accounts(3)
    world.start()
    world.wait_until_caught_up()
    run_sql("UPDATE eventsource_app_checkpoint SET state = 'paused'")
    before = world.delivered()
    world.accounts(3)
    attempts = len(world.ledger.attempts)
    manager = world.managers[0]
    manager.stop()
    world.start()  # remembered across a restart
    wait_for(lambda: world.checkpoint().owner is not None)
    assert world.delivered() == before
    assert len(world.ledger.attempts) == attempts

    run_sql("UPDATE eventsource_app_checkpoint SET state = 'running'")
    world.wait_until_caught_up()
    world.assert_each_once()


def test_batches_are_never_larger_than_asked(world: World) -> None:
    for stream in world.accounts(5):
        world.pay_in(stream, 9)
    projection = BatchLedger()
    world.catch_up(projection, checkpoint_strategy=CheckpointStrategy.PERIODIC)
    assert max(projection.sizes) == QUICK["batch_size"]
    assert world.delivered() == world.log()
