"""An event that cannot be read, or whose type is unknown, is an error of that event alone, and only for whoever asked for it."""

from typing import Any

from eventsource_app.events import EventRegistry, register_event
from eventsource_app.models import DeadLetter
from eventsource_app.store import EventStore, ExpectedVersion
from eventsource_app.subscriptions import Projection, handles
from tests.builders import MoneyPaidIn, NoteTaken, a_stream, note
from tests.builders import registry as known_types
from tests.integration.ledger import NEVER_AGAIN, World, run_sql
from tests.waiting import wait_for


class Notes(Projection):
    """Asks for payments only, and knows of notes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @handles(MoneyPaidIn)
    def see(self, event: MoneyPaidIn) -> None:
        self.seen.append(event.event_type)


class Everything(Projection):
    """Asks for every event there is."""

    def handle_batch(self, recorded: list[Any]) -> None:
        for each in recorded:
            run_sql(
                "INSERT INTO ledger_line (position, aggregate_id, version) VALUES (%s, %s, %s)",
                (each.position, each.event.aggregate_id, each.event.aggregate_version),
            )


def store_without_notes() -> EventStore:
    """A store of code that does not know one of the log's event types, as an old pod in a rollout."""
    registry = EventRegistry()
    register_event(registry=registry)(MoneyPaidIn)
    return EventStore(registry=registry)


def log_with_a_note(world: World) -> None:
    world.accounts(3)
    stream = a_stream()
    world.store.append(stream, [note(stream, "hello")], ExpectedVersion.NO_STREAM)
    world.accounts(3)
    assert NoteTaken.__name__ in known_types


def test_an_unknown_type_that_nobody_asked_for_stops_nothing(world: World) -> None:
    log_with_a_note(world)
    world.store = store_without_notes()

    world.catch_up()

    world.assert_each_once()
    assert world.letters() == []


def test_an_unknown_type_that_was_asked_for_is_parked_until_the_code_comes(world: World) -> None:
    log_with_a_note(world)
    knows_all, world.store = world.store, store_without_notes()
    manager = world.start(Everything(), max_retries=1000)
    world.wait_until_caught_up()
    wait_for(lambda: len(world.letters()) == 1, what="the letter")
    manager.stop()
    letter = world.letter()
    assert (letter.event_type, letter.state, letter.severity) == ("NoteTaken", "parked", "high")
    assert letter.error_type.endswith("UnknownEventTypeError")
    assert sorted(world.delivered()) == world.log()

    world.store = knows_all  # the rollout brings the code
    world.start(Everything(), max_retries=1000)
    wait_for(lambda: DeadLetter.objects.get().state == "resolved")
    assert len(world.delivered()) == 7


def test_an_event_that_cannot_be_read_is_an_error_of_that_event_alone(world: World) -> None:
    world.accounts(2)
    run_sql(
        "INSERT INTO eventsource_app_event (event_id, event_type, schema_version, aggregate_type, aggregate_id, "
        "aggregate_version, slot, occurred_at, metadata, data) "
        "VALUES (gen_random_uuid(), 'MoneyPaidIn', 1, 'Account', gen_random_uuid(), 1, 5, now(), '{}', '{\"amount\": \"x\"}')"
    )
    world.accounts(2)

    world.catch_up(**NEVER_AGAIN)

    assert len(world.delivered()) == 4
    assert world.letter().error_type.endswith("UnreadableEventError")
    assert "amount" in world.letter().error_message
