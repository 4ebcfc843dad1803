"""An event that this code cannot read is an error of that event: nobody who did not ask for it is stopped."""

from typing import Any

import pytest

from eventsource_app.aggregates import AggregateRepository
from eventsource_app.events import (
    EventRegistry,
    NewerSchemaVersionError,
    UnknownEventTypeError,
    UpcasterGapError,
    register_event,
    upcaster,
)
from eventsource_app.store import EventStore, ExpectedVersion, RecordedEvent, StreamId
from tests.builders import ACCOUNT, Account, AccountOpened, MoneyPaidIn, a_store, a_stream, note, paid_in

pytestmark = pytest.mark.django_db(transaction=True)


def store_that_knows(*event_classes: type[Any]) -> EventStore:
    registry = EventRegistry()
    for event_class in event_classes:
        register_event(registry=registry)(event_class)
    return EventStore(registry=registry)


def a_mixed_stream() -> StreamId:
    stream = a_stream()
    events = [paid_in(stream, 1), note(stream, "unknown elsewhere", 2), paid_in(stream, 3)]
    a_store().append(stream, events, ExpectedVersion.NO_STREAM)
    return stream


def outcome(recorded: RecordedEvent) -> str:
    try:
        return recorded.event.event_type
    except UnknownEventTypeError as error:
        return f"unknown {error.event_type}"


def test_an_unregistered_type_that_was_not_asked_for_is_not_even_seen() -> None:
    a_mixed_stream()
    recorded = store_that_knows(MoneyPaidIn).read_all(event_types=[MoneyPaidIn])
    assert [outcome(item) for item in recorded] == ["MoneyPaidIn", "MoneyPaidIn"]


def test_one_that_was_asked_for_is_an_error_of_that_event_not_of_the_feed() -> None:
    stream = a_mixed_stream()
    store = store_that_knows(MoneyPaidIn)
    expected = ["MoneyPaidIn", "unknown NoteTaken", "MoneyPaidIn"]
    for recorded in (
        store.read_all(),
        store.read_all(event_types=["NoteTaken", "MoneyPaidIn"]),
        store.read_stream(stream),
    ):
        assert [outcome(item) for item in recorded] == expected
        assert [item.aggregate_version for item in recorded] == [
            1,
            2,
            3,
        ]  # enough to park it with its aggregate


def test_an_aggregate_with_an_unknown_event_is_not_loaded_with_a_hole() -> None:
    stream = a_mixed_stream()
    repository = AggregateRepository(
        event_store=store_that_knows(MoneyPaidIn), aggregate_factory=Account, aggregate_type=ACCOUNT
    )
    with pytest.raises(UnknownEventTypeError, match="'NoteTaken' is not registered"):
        repository.load(stream.aggregate_id)


class OpenedTwoYearsLater(AccountOpened):
    """What ``AccountOpened`` has become."""

    event_type: str = "AccountOpened"
    schema_version: int = 3
    country: str


def test_old_events_are_lifted_through_all_their_versions() -> None:
    stream = a_stream()
    old = AccountOpened(aggregate_id=stream.aggregate_id, aggregate_version=1, holder="ada")
    a_store().append(stream, [old], ExpectedVersion.NO_STREAM)
    store = store_that_knows(OpenedTwoYearsLater)
    [recorded] = store.read_stream(stream)
    with pytest.raises(UpcasterGapError, match="'AccountOpened' has no upcaster from schema version 1"):
        _ = recorded.event

    upcaster("AccountOpened", from_version=2, registry=store.registry)(
        lambda payload: {**payload, "country": "GB"}
    )
    upcaster("AccountOpened", from_version=1, registry=store.registry)(
        lambda payload: {**payload, "holder": payload["holder"].title()}
    )
    event = recorded.event
    assert isinstance(event, OpenedTwoYearsLater)
    assert (event.holder, event.country, event.schema_version) == ("Ada", "GB", 3)
    assert (event.event_id, event.occurred_at) == (old.event_id, old.occurred_at)


def test_what_newer_code_wrote_is_an_error_of_that_event() -> None:
    stream = a_stream()
    newer = OpenedTwoYearsLater(
        aggregate_id=stream.aggregate_id, aggregate_version=1, holder="Ada", country="GB"
    )
    store_that_knows(OpenedTwoYearsLater).append(stream, [newer], ExpectedVersion.NO_STREAM)
    a_store().append(stream, [paid_in(stream, 2)], ExpectedVersion.exact(1))
    first, second = a_store().read_all()
    with pytest.raises(NewerSchemaVersionError, match="stored with schema version 3, but this code knows 1"):
        _ = first.event
    assert isinstance(second.event, MoneyPaidIn)
