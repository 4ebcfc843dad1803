"""Where a subscription begins, what it passes by, and when it refuses to begin at all."""

from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections

from eventsource_app.models import Checkpoint
from eventsource_app.store import ExpectedVersion, StreamId
from eventsource_app.subscriptions import (
    ConfigurationError,
    ErrorSeverity,
    Projection,
    SubscriptionConfig,
    SubscriptionManager,
    checkpoints,
    handles,
    roster,
)
from tests.builders import MoneyPaidIn, NoteTaken, a_stream, note
from tests.integration.ledger import NAME, QUICK, Ledger, World, plain_parameters, run_sql
from tests.waiting import wait_for


def take_a_note(world: World) -> StreamId:
    stream = a_stream()
    world.store.append(stream, [note(stream, "hello")], ExpectedVersion.NO_STREAM)
    return stream


@pytest.mark.parametrize(
    ("start_from", "skipped"), [("checkpoint", 0), ("beginning", 0), ("end", 6), (0, 0), ("the third", 3)]
)
def test_a_new_subscription_begins_where_it_is_told(world: World, start_from: Any, skipped: int) -> None:
    world.accounts(6)
    start_from = world.log()[2] if start_from == "the third" else start_from
    world.start(start_from=start_from)
    world.wait_until_caught_up()
    world.accounts(2)
    world.wait_until_caught_up()
    assert world.delivered() == world.log()[skipped:]


@pytest.mark.parametrize("start_from", ["checkpoint", "beginning", "end", 0])
def test_an_existing_checkpoint_always_wins(world: World, start_from: str | int) -> None:
    world.accounts(3)
    world.catch_up()
    world.accounts(3)
    world.catch_up(start_from=start_from)
    assert world.delivered() == world.log()


def test_from_the_end_nothing_that_is_being_appended_is_passed(world: World) -> None:
    """The end is the fence's bound: an append that runs at that moment is still delivered."""
    world.accounts(3)
    with psycopg.connect(**plain_parameters()) as appender:
        appender.execute("SELECT eventsource_take_fence()")
        appender.execute(
            "INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id, "
            "aggregate_version, slot, occurred_at, metadata, data) "
            "VALUES (gen_random_uuid(), 'MoneyPaidIn', 1, 'Account', gen_random_uuid(), 1, 5, now(), '{}', '{\"amount\": \"1\"}')"
        )
        world.accounts(1)  # commits first, at a higher position
        world.start(start_from="end")
        wait_for(lambda: world.position() > 0)
        appender.commit()
    world.wait_until_caught_up()
    assert world.delivered() == world.log()[3:]
    assert len(world.delivered()) == 2


def test_the_checkpoint_moves_past_what_is_filtered_out(world: World) -> None:
    world.accounts(2)
    for _ in range(30):
        take_a_note(world)
    world.catch_up()
    assert world.delivered() == world.log()
    assert world.checkpoint().position >= world.store.read_all()[-1].position
    assert world.checkpoint().events_processed == 2


def test_aggregate_types_are_a_filter_too(world: World) -> None:
    world.accounts(3)
    world.catch_up(aggregate_types=["Order"])
    assert world.delivered() == []
    assert world.position() >= world.log()[-1]


def test_configured_event_types_narrow_what_is_delivered(world: World) -> None:
    world.accounts(2)
    world.catch_up(event_types=[NoteTaken])
    assert world.delivered() == []
    assert world.checkpoint().handled_types == ["NoteTaken"]


def test_a_checkpoint_ahead_of_the_log_is_refused(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A database restored from a backup: the read model knows of events that the log has lost."""
    world.accounts(2)
    world.catch_up()
    ahead = world.store.head_position() + 5
    run_sql("UPDATE eventsource_app_checkpoint SET position = %s", [ahead])

    manager = world.start()
    world.accounts(2)  # still below the checkpoint

    assert set(manager.refused) == {NAME}
    assert f"at {ahead}, ahead of the log" in manager.refused[NAME]
    assert "rebuild_projection ledger" in manager.refused[NAME]
    assert not manager.readiness_check().to_dict()["ready"]
    assert manager.is_blocked
    assert "Subscription refused" in caplog.text
    (told,) = world.errors
    assert (told.classification.severity, told.error_message) == (
        ErrorSeverity.CRITICAL,
        manager.refused[NAME],
    )
    assert manager.get_error_stats()["total_errors"] == 0
    assert world.checkpoint().owner is None
    assert world.position() == ahead
    manager.stop()
    assert len(world.delivered()) == 2


def test_a_gap_at_the_logs_end_is_not_ahead_of_it(world: World) -> None:
    """Positions that were drawn and rolled back are legal, so the sequence decides, not the last event."""
    world.accounts(2)
    run_sql("SELECT nextval('eventsource_app_event_position_seq') FROM generate_series(1, 5)")
    world.catch_up()
    manager = world.start()
    assert manager.refused == {}
    world.accounts(1)
    world.wait_until_caught_up()
    world.assert_each_once()


class LedgerWithNotes(Ledger):
    @handles(NoteTaken)
    def take(self, event: NoteTaken) -> None:
        run_sql(
            "INSERT INTO ledger_line (position, aggregate_id, version) VALUES (-1, %s, %s)",
            (event.aggregate_id, event.aggregate_version),
        )


def test_handled_types_that_grew_over_passed_events_are_refused(world: World) -> None:
    take_a_note(world)
    world.accounts(2)
    world.catch_up()

    manager = world.start(LedgerWithNotes())

    assert "now handles NoteTaken" in manager.refused[NAME]
    assert "accept_event_types ledger" in manager.refused[NAME]
    assert world.checkpoint().handled_types == ["MoneyPaidIn"]
    assert world.checkpoint().owner is None


def test_handled_types_that_grew_before_any_such_event_are_taken(world: World) -> None:
    world.accounts(2)
    world.catch_up()
    manager = world.start(LedgerWithNotes())
    assert manager.refused == {}
    assert world.checkpoint().handled_types == ["MoneyPaidIn", "NoteTaken"]
    take_a_note(world)
    world.wait_until_caught_up()
    assert world.delivered()[-1] == -1


def test_an_old_worker_beside_a_new_one_does_not_take_the_lease(world: World) -> None:
    world.accounts(2)
    world.catch_up(LedgerWithNotes())
    old = world.start(Ledger())
    take_a_note(world)
    new = world.start(LedgerWithNotes())
    world.wait_until_caught_up()
    assert world.delivered()[-1] == -1
    new.stop()
    old.stop()
    world.catch_up(LedgerWithNotes())
    assert len(world.delivered()) == 3


def test_a_handler_that_was_dropped_is_told_and_until_caught_up_does_not_wait_for_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.catch_up(LedgerWithNotes())
    world.accounts(1)
    manager = world.manager()
    manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=NAME)

    manager.run_until_caught_up()

    assert manager.unhandled.startswith("This process handles fewer event types than ledger did last")
    assert "accept_event_types ledger" in manager.unhandled
    (line,) = [record for record in caplog.records if record.getMessage() == "Subscription left alone"]
    assert vars(line)["error_message"] == manager.unhandled


def test_an_old_worker_that_owns_the_lease_when_a_new_one_comes_passes_over_nothing(world: World) -> None:
    """A rollout: the old one would go on for as long as it runs, over events that only the new one handles."""
    world.accounts(2)
    old = world.start(Ledger())
    world.wait_until_caught_up()
    new = world.start(LedgerWithNotes())
    assert new.refused == {}
    take_a_note(world)
    world.accounts(2)
    world.wait_until_caught_up()
    assert -1 in world.delivered()
    assert len(world.delivered()) == 5
    assert world.checkpoint().owner == new.worker_id
    old.stop()


def test_an_old_worker_is_no_reason_to_leave_it_what_it_cannot_run(world: World) -> None:
    """A rollout that takes its time: of two subscriptions, the old one's part would be one."""
    world.accounts(2)
    managers = {}
    for release in (Ledger, LedgerWithNotes):
        managers[release] = manager = world.manager()
        for name in ("one", "two"):
            manager.subscribe(release(), SubscriptionConfig(**QUICK), name=name)
        manager.start()
        for name in ("one", "two"):
            world.wait_until_caught_up(name)
    new = managers[LedgerWithNotes]
    assert new.refused == {}
    owners = Checkpoint.objects.values_list("owner", flat=True)
    wait_for(lambda: list(owners.all()) == [new.worker_id] * 2, seconds=20, what="both with the new one")


def test_types_that_grow_while_the_old_worker_passes_such_an_event_are_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the log and the change of the types, the checkpoint moves on."""
    world.accounts(2)
    world.catch_up()
    lock_all = checkpoints.lock_all

    def move_on_first(using: str, name: str) -> list[checkpoints.CheckpointRow]:
        take_a_note(world)
        head = world.store.head_position()
        run_sql("UPDATE eventsource_app_checkpoint SET position = %s", [head])
        return lock_all(using, name)

    monkeypatch.setattr(checkpoints, "lock_all", move_on_first)
    manager = world.start(LedgerWithNotes())
    monkeypatch.undo()
    assert "has passed such events" in manager.refused[NAME]
    assert world.checkpoint().handled_types == ["MoneyPaidIn"]


def test_a_broken_subscription_does_not_hold_up_the_others(world: World) -> None:
    world.accounts(3)
    world.catch_up()
    run_sql("UPDATE eventsource_app_checkpoint SET position = position + 1000")
    manager = SubscriptionManager(event_store=world.store)
    world.managers.append(manager)
    manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=NAME)
    manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name="another")
    manager.start()
    wait_for(lambda: world.position("another") >= world.log()[-1])
    assert set(manager.refused) == {NAME}


def test_settings_override_the_code(world: World, settings: Any) -> None:
    world.accounts(4)
    settings.EVENTSOURCE = {
        **settings.EVENTSOURCE,
        "SUBSCRIPTIONS": {NAME: {"start_from": "end", "batch_size": 3}},
    }
    world.catch_up(start_from="beginning", batch_size=10)
    assert world.delivered() == []
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "SUBSCRIPTIONS": {NAME: {"batch_sizes": 3}}}
    with pytest.raises(ConfigurationError, match=r"unknown fields.*batch_sizes"):
        world.start()


def test_two_subscriptions_of_one_name_are_refused(world: World) -> None:
    manager = world.start()
    with pytest.raises(ConfigurationError, match="is there already"):
        manager.subscribe(Ledger(), name=NAME)


def test_a_subscription_that_comes_later_starts_at_once_and_one_that_leaves_stops(world: World) -> None:
    world.accounts(2)
    manager = world.manager()
    manager.start()
    manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)
    world.wait_until_caught_up()
    manager.unsubscribe(NAME)
    wait_for(lambda: world.checkpoint().owner is None, what="the lease to be given back")
    world.accounts(2)
    manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name=NAME)
    world.wait_until_caught_up()
    world.assert_each_once()


class NoName(Projection):
    @handles(MoneyPaidIn)
    def see(self, event: MoneyPaidIn) -> None: ...


def test_a_subscriptions_name_is_its_classs_by_default(world: World) -> None:
    manager = world.manager()
    manager.subscribe(NoName)
    manager.start()
    assert world.checkpoint("NoName").handled_types == ["MoneyPaidIn"]


def test_one_that_comes_during_an_outage_gets_its_place_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.accounts(3)
    manager = world.start()
    monkeypatch.setattr(roster, "LOOK_AGAIN_SECONDS", 0.1)
    connection = connections["default"]  # this thread's own: the manager's threads go on
    connection.close()
    with monkeypatch.context() as outage:
        outage.setattr(connection, "ensure_connection", refuse_to_connect)
        manager.subscribe(Ledger(), SubscriptionConfig(**QUICK), name="late")
    assert "Subscription waits for the database" in caplog.text
    world.wait_until_caught_up("late")
    assert manager.refused == {}


def refuse_to_connect() -> None:
    raise OperationalError("connection refused")
