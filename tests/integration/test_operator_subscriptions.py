"""An operator pauses, resumes, resets and repartitions subscriptions while real workers run."""

import threading
from typing import Any

import pytest

from eventsource_app.models import Checkpoint, DeadLetter
from eventsource_app.store.slots import get_partition_for_aggregate
from eventsource_app.subscriptions import (
    Projection,
    SubscriptionConfig,
    SubscriptionManager,
    checkpoints,
    control,
    repartitioning,
    worker,
)
from eventsource_app.subscriptions.control import BusyError, ControlError, UnknownSubscriptionError
from eventsource_app.subscriptions.rebuilding import accept_event_types, letters_above, reset_checkpoint
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.repartitioning import change_partitions
from tests.builders import MoneyPaidIn, a_stream
from tests.integration.ledger import NAME, QUICK, Gate, Ledger, World, in_background, run_sql
from tests.waiting import wait_for

LATER: dict[str, Any] = {"initial_retry_delay": 3600, "max_retry_delay": 3600}
WHO = "ada"


def code(world: World, projection: Projection | None = None, **config: Any) -> dict[str, Subscription]:
    merged = SubscriptionConfig(**{**QUICK, **LATER, **config})
    return {NAME: Subscription(NAME, projection or world.ledger, merged)}


def states() -> set[str]:
    return set(Checkpoint.objects.values_list("state", flat=True))


class TestPauseAndResume:
    def test_a_paused_subscription_handles_nothing_until_it_is_resumed(self, world: World) -> None:
        world.accounts(3)
        world.start()
        world.wait_until_caught_up()

        change = control.pause(NAME, WHO, "maintenance")
        world.accounts(2)

        assert (change.previous, change.state, change.changed) == ("running", "paused", True)
        row = world.checkpoint()
        assert (row.state_reason, row.state_changed_by) == ("maintenance", WHO)
        assert row.state_changed_at is not None
        threading.Event().wait(0.7)  # longer than a worker waits between two looks
        assert len(world.delivered()) == 3
        assert control.resume(NAME, WHO).previous == "paused"
        world.wait_until_caught_up()
        world.assert_each_once()

    def test_it_is_remembered_across_restarts_and_by_all_partitions(self, world: World) -> None:
        world.catch_up(partitions=4)
        assert control.pause(NAME, WHO).partition_count == 4
        world.accounts(4)
        manager = world.start(partitions=4)
        wait_for(lambda: all(Checkpoint.objects.values_list("owner", flat=True)))
        assert states() == {"paused"}
        threading.Event().wait(0.7)
        assert world.delivered() == []
        control.resume(NAME, WHO)
        world.wait_until_caught_up()
        manager.stop()
        world.assert_each_once()

    def test_it_returns_when_no_handler_runs_any_more(self, world: World) -> None:
        (stream,) = world.accounts(1)
        done: list[str] = []
        with Gate() as gate:
            world.ledger.traps[stream.aggregate_id, 1] = gate
            world.start()
            gate.wait_until_reached()
            thread = in_background(lambda: done.append(control.pause(NAME, WHO).state))
            threading.Event().wait(0.3)
            assert done == []
        thread.join()
        assert done == ["paused"]
        assert len(world.delivered()) == 1

    def test_it_gives_up_with_a_sentence_when_a_handler_hangs(self, world: World) -> None:
        (stream,) = world.accounts(1)
        with Gate() as gate:
            world.ledger.traps[stream.aggregate_id, 1] = gate
            world.start()
            gate.wait_until_reached()
            run_sql("SET statement_timeout = 200")
            try:
                with pytest.raises(BusyError, match="A batch of ledger has been running for too long"):
                    control.pause(NAME, WHO)
            finally:
                run_sql("RESET statement_timeout")
        assert states() == {"running"}

    def test_a_stopped_subscription_is_restarted(self, world: World) -> None:
        (stream,) = world.accounts(1)
        world.ledger.fails_at(stream, 1, ValueError("poison"))
        world.start(continue_on_error=False)
        wait_for(lambda: states() == {"stopped"})
        world.ledger.is_fixed()

        assert control.resume(NAME, WHO).previous == "stopped"

        world.wait_until_caught_up()
        world.assert_each_once()
        assert world.checkpoint().state_reason == ""

    def test_what_is_so_already_is_not_written_again(self, world: World) -> None:
        world.catch_up()
        assert not control.resume(NAME, WHO).changed
        control.pause(NAME, WHO, "first")
        assert not control.pause(NAME, "eve", "second").changed
        assert world.checkpoint().state_reason == "first"

    def test_no_letter_is_retried_once_a_pause_has_returned(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "LOOK_SECONDS", 60)  # all the time until it sees the pause by itself
        (stream,) = world.accounts(1)
        world.ledger.fails_at(stream, 1, ValueError("poison"))
        manager = world.manager(lease_seconds=600)
        manager.subscribe(world.ledger, SubscriptionConfig(**{**QUICK, **LATER}), name=NAME)
        manager.start()
        wait_for(lambda: world.letters() != [], what="a dead letter")
        tried = len(world.ledger.attempts)

        control.pause(NAME, WHO)
        DeadLetter.objects.update(next_retry_at="2020-01-01T00:00:00Z")
        threading.Event().wait(1.5)  # longer than it waits between two letters
        assert len(world.ledger.attempts) == tried
        assert world.letter().state == "parked"

        world.ledger.is_fixed()
        control.resume(NAME, WHO)
        wait_for(lambda: world.versions(stream) == [1], what="the retry")

    def test_an_unknown_name_is_told_with_the_known_ones(self, world: World) -> None:
        world.catch_up()
        for verb in (control.pause, control.resume):
            with pytest.raises(
                UnknownSubscriptionError, match=r"'legder' has a checkpoint; known are: ledger\."
            ):
                verb("legder", WHO)


def catch_up_to_the_end(world: World) -> SubscriptionManager:
    """As `run_subscriptions --until-caught-up` does."""
    manager = world.manager()
    config = SubscriptionConfig(**{**QUICK, "circuit_breaker_recovery_timeout": 3600})
    manager.subscribe(world.ledger, config, name=NAME)
    manager.run_until_caught_up()
    return manager


class TestResetCheckpoint:
    def test_what_lies_above_is_delivered_again(self, world: World) -> None:
        world.accounts(4)
        world.catch_up()
        log = world.log()

        reset = reset_checkpoint(NAME, log[1], WHO, store=world.store)

        assert (reset.position, reset.closed_letter_count) == (log[1], 0)
        assert world.position() == log[1]
        world.catch_up()
        assert world.delivered() == [*log, *log[2:]]

    def test_it_is_refused_while_a_worker_owns_it(self, world: World) -> None:
        world.accounts(1)
        world.start()
        world.wait_until_caught_up()
        before = world.position()
        with pytest.raises(ControlError, match="A worker owns ledger"):
            reset_checkpoint(NAME, 0, WHO, store=world.store)
        assert world.position() == before

    @pytest.mark.parametrize("distance", [1, 1000])
    def test_it_stays_within_the_log(self, world: World, distance: int) -> None:
        world.catch_up()
        head = world.store.head_position()
        for to in (-distance, head + distance):
            with pytest.raises(ControlError, match=f"can be read from 0 to {head}"):
                reset_checkpoint(NAME, to, WHO, store=world.store)

    def test_letters_above_are_closed_and_those_below_stay(self, world: World) -> None:
        low, high = world.accounts(2)
        for stream in (low, high):
            world.ledger.fails_at(stream, 1, ValueError("poison"))
        world.pay_in(low)
        world.pay_in(high)
        world.accounts(1)
        world.catch_up(**LATER)
        first, second = (letter.position for letter in world.letters())
        assert letters_above(NAME, first) == 1

        reset = reset_checkpoint(NAME, first, WHO, store=world.store)

        assert reset.closed_letter_count == 1
        below, above = world.letters()
        assert (below.state, above.state) == ("parked", "resolved")
        assert above.closed_by == WHO
        assert f"reset to {first}" in above.close_reason
        world.ledger.is_fixed()
        DeadLetter.objects.filter(state="parked").update(next_retry_at="2020-01-01T00:00:00Z")
        world.start(**LATER)
        wait_for(lambda: (world.versions(low), world.versions(high)) == ([1, 2], [1, 2]))
        assert second in world.delivered()

    def test_a_zombie_cannot_move_it_back(self, world: World) -> None:
        world.accounts(1)
        world.catch_up()
        before = world.checkpoint().epoch
        reset_checkpoint(NAME, 0, WHO, store=world.store)
        assert world.checkpoint().epoch == before + 1

    def test_past_what_opened_the_breaker_nothing_is_left_of_it(self, world: World) -> None:
        for stream in world.accounts(8):
            world.ledger.fails_at(stream, 1, ValueError("poison"))
        assert catch_up_to_the_end(world).unhandled.startswith("The circuit breaker of ledger is open")

        reset_checkpoint(NAME, world.store.head_position(), WHO, store=world.store)

        assert world.checkpoint().breaker == "closed"
        assert catch_up_to_the_end(world).unhandled == ""

    def test_it_is_refused_during_a_rebuild(self, world: World) -> None:
        world.accounts(1)
        world.catch_up()
        Checkpoint.objects.update(position=0, rebuild_target=5)
        with pytest.raises(ControlError, match="is being rebuilt"):
            reset_checkpoint(NAME, 1, WHO, store=world.store)


class TestAcceptEventTypes:
    def test_a_refused_subscription_goes_on_without_the_past(self, world: World) -> None:
        world.accounts(2)
        world.catch_up()
        Checkpoint.objects.update(handled_types=["NoteTaken"])
        manager = world.start()
        assert "accept_event_types ledger" in manager.refused[NAME]
        manager.stop()

        accepted = accept_event_types(NAME, WHO, subscriptions=code(world))

        assert (accepted.added, accepted.removed) == (("MoneyPaidIn",), ("NoteTaken",))
        assert Checkpoint.objects.get().handled_types == ["MoneyPaidIn"]
        world.accounts(1)
        world.catch_up()
        world.assert_each_once()

    def test_an_old_worker_that_would_skip_the_new_type_loses_the_lease(self, world: World) -> None:
        class Wider(Projection):
            handled_events = (MoneyPaidIn,)

            def handle_batch(self, recorded: list[Any]) -> None: ...

            @classmethod
            def event_types(cls) -> tuple[str, ...]:
                return ("MoneyPaidIn", "NoteTaken")

        world.accounts(1)
        world.start()
        wait_for(lambda: world.checkpoint().owner)
        world.wait_until_caught_up()

        accept_event_types(NAME, WHO, subscriptions=code(world, Wider()))

        assert world.checkpoint().owner is None  # at once: not one more batch of the old worker
        threading.Event().wait(1.0)
        assert world.checkpoint().owner is None

    def test_nothing_new_changes_nothing(self, world: World) -> None:
        world.catch_up()
        epoch = world.checkpoint().epoch
        accepted = accept_event_types(NAME, WHO, subscriptions=code(world))
        assert (accepted.added, accepted.removed, world.checkpoint().epoch) == ((), (), epoch)


class TestChangePartitions:
    @pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 1), (2, 8), (8, 2)])
    def test_every_event_is_handled_once(self, world: World, before: int, after: int) -> None:
        world.accounts(20)
        world.catch_up(partitions=before)
        world.accounts(5)
        position = world.position()

        result = change_partitions(NAME, after, WHO, store=world.store, subscriptions=code(world))

        assert (result.previous_count, result.partition_count, result.changed) == (before, after, True)
        rows = list(Checkpoint.objects.order_by("partition"))
        assert [(row.partition, row.partition_count) for row in rows] == [(i, after) for i in range(after)]
        assert {row.position for row in rows} == {result.position}
        assert result.position >= position
        assert sum(row.events_processed for row in rows) == 20
        assert {row.owner for row in rows} == {None}
        world.catch_up(partitions=before)
        world.assert_each_once()

    def test_slower_partitions_are_brought_to_the_fastest_ones_position(self, world: World) -> None:
        streams = world.accounts(16)
        world.catch_up(partitions=2)
        self._set_back(world, 0, world.log()[3])

        result = change_partitions(NAME, 4, WHO, store=world.store, subscriptions=code(world))

        slow = [s for s in streams if get_partition_for_aggregate(s.aggregate_id, 2) == 0]
        assert sum(row.events_processed for row in Checkpoint.objects.all()) >= 16 + len(slow) - 4
        assert result.position >= world.log()[-1]
        world.catch_up(partitions=2)
        world.assert_each_once()

    def test_while_workers_run_and_events_come_in(self, world: World) -> None:
        streams = world.accounts(10)
        world.start(partitions=2)
        world.start(partitions=2)
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                for stream in streams:
                    world.pay_in(stream)

        writer = in_background(write)
        try:
            for count in (8, 1, 4):
                change_partitions(NAME, count, WHO, store=world.store, subscriptions=code(world))
                wait_for(lambda: len(world.delivered()) > 0)
        finally:
            stop.set()
            writer.join()
        wait_for(lambda: world.position() >= world.log()[-1])
        world.assert_each_once()
        for stream in streams:
            assert world.versions(stream) == sorted(world.versions(stream))

    def test_letters_survive_and_are_retried_by_the_new_owner(self, world: World) -> None:
        poisoned, _other = world.accounts(2)
        world.pay_in(poisoned)
        world.ledger.fails_at(poisoned, 1, ValueError("poison"))
        world.catch_up(**LATER)
        change_partitions(NAME, 8, WHO, store=world.store, subscriptions=code(world))
        world.start(**LATER)
        world.pay_in(poisoned)
        world.wait_until_caught_up()
        assert world.versions(poisoned) == []
        world.ledger.is_fixed()
        DeadLetter.objects.update(next_retry_at="2020-01-01T00:00:00Z")
        wait_for(lambda: world.versions(poisoned) == [1, 2, 3])

    def test_a_poison_event_in_the_gap_is_parked_not_lost(self, world: World) -> None:
        streams = world.accounts(8)
        world.catch_up(partitions=2)
        self._set_back(world, 0, 0)
        victim = next(s for s in streams if get_partition_for_aggregate(s.aggregate_id, 2) == 0)
        world.ledger.fails_at(victim, 1, ValueError("poison"))
        change_partitions(NAME, 1, WHO, store=world.store, subscriptions=code(world))
        assert world.letter().aggregate_id == victim.aggregate_id
        assert world.versions(victim) == []

    def test_a_gap_that_cannot_be_closed_changes_nothing(self, world: World) -> None:
        world.accounts(8)
        world.catch_up(partitions=2)
        self._set_back(world, 0, 0)
        control.pause(NAME, WHO)
        with pytest.raises(ControlError, match=r"stay as they are: .*ledger is paused; resume it"):
            change_partitions(NAME, 1, WHO, store=world.store, subscriptions=code(world))
        assert [row.owner for row in Checkpoint.objects.all()] == [None, None]
        control.resume(NAME, WHO)
        world.catch_up(partitions=2)
        world.assert_each_once()

    def test_rows_at_different_positions_are_never_rewritten(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.accounts(4)
        world.catch_up(partitions=2)
        self._set_back(world, 0, 0)
        monkeypatch.setattr(repartitioning, "_drain", lambda *_: None)
        with pytest.raises(ControlError, match="somebody moved a checkpoint"):
            change_partitions(NAME, 1, WHO, store=world.store, subscriptions=code(world))
        assert Checkpoint.objects.count() == 2

    def test_a_slower_partition_may_meet_a_poison_event_with_many_behind_it(self, world: World) -> None:
        other = next(s for s in iter(a_stream, None) if get_partition_for_aggregate(s.aggregate_id, 2) == 1)
        poisoned = next(
            s for s in iter(a_stream, None) if get_partition_for_aggregate(s.aggregate_id, 2) == 0
        )
        world.pay_in(poisoned, 25)  # more than two batches in a row
        world.pay_in(other)
        world.catch_up(partitions=2)
        self._set_back(world, 0, 0)
        world.ledger.fails_at(poisoned, 1, ValueError("poison"))

        change_partitions(NAME, 4, WHO, store=world.store, subscriptions=code(world))

        assert (world.versions(poisoned), world.versions(other)) == ([], [1])
        world.ledger.is_fixed()
        DeadLetter.objects.update(next_retry_at="2020-01-01T00:00:00Z")
        world.start(**LATER)
        wait_for(lambda: len(world.versions(poisoned)) == 25, what="what waited behind it")
        world.assert_each_once()

    def test_no_worker_takes_a_partition_over_while_a_slow_batch_runs(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow = next(s for s in iter(a_stream, None) if get_partition_for_aggregate(s.aggregate_id, 2) == 0)
        world.pay_in(slow, 10)
        world.accounts(4)
        world.catch_up(partitions=2)
        self._set_back(world, 0, 0)
        for version in range(1, 11):
            world.ledger.traps[slow.aggregate_id, version] = lambda: threading.Event().wait(0.3)
        monkeypatch.setattr(repartitioning, "LEASE_SECONDS", 1.5)  # the batch takes twice as long
        subscriptions = code(world)
        changing = in_background(
            lambda: change_partitions(NAME, 4, WHO, store=world.store, subscriptions=subscriptions)
        )
        wait_for(lambda: world.ledger.attempts[14:], what="the change to have begun")
        world.start(Ledger(), partitions=2)
        changing.join()

        assert Checkpoint.objects.count() == 4
        world.wait_until_caught_up()
        world.assert_each_once()

    def test_with_many_partitions_it_does_not_renew_each_for_each(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of 1,024 slower ones that would be a million statements."""
        world.accounts(2)
        world.catch_up(partitions=16)
        Checkpoint.objects.exclude(partition=0).update(position=world.position() - 1)
        renewed: list[checkpoints.Lease] = []
        monkeypatch.setattr(checkpoints, "renew", lambda _using, lease, _seconds: renewed.append(lease))

        change_partitions(NAME, 1, WHO, store=world.store, subscriptions=code(world))

        assert len(renewed) <= 16
        assert Checkpoint.objects.count() == 1

    def test_a_paused_subscription_in_one_place_stays_paused(self, world: World) -> None:
        world.catch_up(partitions=2)
        Checkpoint.objects.update(position=world.position())
        control.pause(NAME, WHO, "why")
        change_partitions(NAME, 4, WHO, store=world.store, subscriptions=code(world))
        assert set(Checkpoint.objects.values_list("state", "state_reason")) == {("paused", "why")}

    @pytest.mark.parametrize("to", [0, 3, -2, 2048])
    def test_only_powers_of_two(self, world: World, to: int) -> None:
        with pytest.raises(ControlError, match="use a power of two up to 1024"):
            change_partitions(NAME, to, WHO, store=world.store, subscriptions=code(world))

    def test_a_projection_that_cannot_be_split_is_not(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.catch_up()
        monkeypatch.setattr(Ledger, "max_partitions", 1)
        with pytest.raises(
            ControlError, match="'ledger' cannot have 2 partitions: Ledger says max_partitions = 1"
        ):
            change_partitions(NAME, 2, WHO, store=world.store, subscriptions=code(world))
        assert world.checkpoint().partition_count == 1

    def test_one_that_was_split_before_it_said_so_is_refused_and_mended(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.accounts(4)
        world.catch_up(partitions=2)
        monkeypatch.setattr(Ledger, "max_partitions", 1)
        manager = world.start()
        assert "change_partitions ledger --to 1" in manager.refused[NAME]
        manager.stop()
        change_partitions(NAME, 1, WHO, store=world.store, subscriptions=code(world))
        assert world.start().refused == {}

    def test_the_shell_of_an_old_release_is_refused(self, world: World) -> None:
        world.catch_up(partitions=2)
        Checkpoint.objects.update(handled_types=["MoneyPaidIn", "NoteTaken"])
        with pytest.raises(ControlError, match="handles fewer event types"):
            change_partitions(NAME, 4, WHO, store=world.store, subscriptions=code(world))

    def test_the_same_number_changes_nothing(self, world: World) -> None:
        world.catch_up(partitions=2)
        ids = set(Checkpoint.objects.values_list("pk", flat=True))
        assert not change_partitions(NAME, 2, WHO, store=world.store, subscriptions=code(world)).changed
        assert set(Checkpoint.objects.values_list("pk", flat=True)) == ids

    def _set_back(self, world: World, partition: int, position: int) -> None:
        """As if this partition were slow: its events above the position are not handled yet."""
        Checkpoint.objects.filter(partition=partition).update(position=position)
        run_sql(
            "DELETE FROM ledger_line USING eventsource_app_event e WHERE e.position = ledger_line.position "
            "AND e.slot %% 2 = %s AND e.position > %s",
            [partition, position],
        )
