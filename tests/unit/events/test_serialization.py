"""Events to stored text and back, whatever their fields are."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from eventsource_app.events import (
    DomainEvent,
    EventRegistry,
    InvalidEventError,
    NewerSchemaVersionError,
    UnknownEventTypeError,
    UnreadableEventError,
    UpcasterGapError,
    register_event,
    upcaster,
)
from eventsource_app.events.serialization import StoredEvent, decode, encode_payload, stream_fields

registry = EventRegistry()


class Colour(Enum):
    RED = "red"


class Line(BaseModel):
    sku: str
    price: Decimal


@register_event(registry=registry)
class EverythingHappened(DomainEvent):
    aggregate_type: str = "World"
    text: str = ""
    number: int = 0
    ratio: float = 0.5
    amount: Decimal = Decimal("1.10")
    raw: bytes = b""
    day: date = date(2026, 1, 1)
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    span: timedelta = timedelta(0)
    owner: UUID = UUID(int=1)
    colour: Colour = Colour.RED
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    lines: list[Line] = []
    anything: Any = None


FIRST_DAY, LAST_DAY = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001 - hypothesis adds the zone
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=15,
)
EVENTS = st.builds(
    EverythingHappened,
    aggregate_id=st.uuids(),
    aggregate_version=st.integers(1, 2**31 - 1),
    occurred_at=st.datetimes(FIRST_DAY, LAST_DAY, timezones=st.timezones()),
    correlation_id=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    causation_id=st.none() | st.uuids(),
    actor_id=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    metadata=st.dictionaries(TEXT, JSON, max_size=4),
    text=TEXT,
    number=st.integers(-(2**63), 2**63),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    amount=NUMBERS,
    raw=st.binary(max_size=50).map(lambda raw: raw.hex().encode()),
    span=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
    tags=st.frozensets(TEXT, max_size=3),
    lines=st.lists(st.builds(Line, sku=TEXT, price=NUMBERS), max_size=3),
    anything=JSON,
)


def stored(event: DomainEvent, **changes: Any) -> StoredEvent:
    """The event as its row would have it."""
    data, metadata = encode_payload(event)
    row = StoredEvent(
        event_id=str(event.event_id),
        event_type=event.event_type,
        schema_version=event.schema_version,
        aggregate_version=event.aggregate_version,
        occurred_at=json.dumps(event.occurred_at.replace(tzinfo=None).isoformat()),
        correlation_id=event.correlation_id,
        causation_id=str(event.causation_id) if event.causation_id else None,
        actor_id=event.actor_id,
        metadata=metadata,
        data=data,
        position=1,
        aggregate_type=event.aggregate_type,
        aggregate_id=str(event.aggregate_id),
        recorded_at='"2026-01-01T00:00:00"',
    )
    return row._replace(**changes)


def read_back(row: StoredEvent, from_registry: EventRegistry) -> DomainEvent:
    return decode(row, stream_fields(row.aggregate_type, row.aggregate_id), from_registry)


def an_event(**payload: Any) -> EverythingHappened:
    return EverythingHappened(aggregate_id=uuid4(), aggregate_version=1, **payload)


@given(EVENTS)
def test_any_event_comes_back_as_it_went_in(event: EverythingHappened) -> None:
    assert read_back(stored(event), registry) == event


@given(EVENTS)
def test_the_stored_text_is_json_without_the_envelope(event: EverythingHappened) -> None:
    data, metadata = encode_payload(event)
    assert set(json.loads(data)) == set(EverythingHappened.model_fields) - set(DomainEvent.model_fields)
    assert json.loads(metadata) == event.metadata


def test_the_columns_win_over_the_payload() -> None:
    """An upcaster, or a hand, may have put an envelope's word into the payload."""
    row = stored(an_event(text="kept"))
    data = json.dumps(
        {**json.loads(row.data), "aggregate_version": 99, "event_id": str(uuid4()), "metadata": {"a": 1}}
    )
    event = read_back(row._replace(data=data), registry)
    assert (str(event.event_id), event.aggregate_version, event.metadata) == (row.event_id, 1, {})


def test_fields_with_other_names_outside_and_fields_of_no_class_come_back() -> None:
    @register_event(registry=registry)
    class AliasedHappened(DomainEvent):
        model_config = ConfigDict(extra="allow")
        aggregate_type: str = "World"
        amount: int = Field(alias="amt")
        price: int = Field(validation_alias="cost")

    event = AliasedHappened.model_validate(
        {"aggregate_id": uuid4(), "aggregate_version": 1, "amt": 3, "cost": 4, "more": [5]}
    )
    assert read_back(stored(event), registry) == event


def test_what_an_events_class_or_upcaster_raises_is_an_error_of_that_event() -> None:
    @register_event(registry=registry)
    class ChoosyHappened(DomainEvent):
        aggregate_type: str = "World"
        schema_version: int = 2
        choice: str

        @field_validator("choice")
        @classmethod
        def look_up(cls, choice: str) -> str:
            return {"a": "a"}[choice]

    @upcaster("ChoosyHappened", from_version=1, registry=registry)
    def lift(payload: dict[str, Any]) -> dict[str, Any]:
        return {"choice": object()}

    row = stored(ChoosyHappened(aggregate_id=uuid4(), aggregate_version=1, choice="a"))
    with pytest.raises(UnreadableEventError, match="its class failed with KeyError: 'b'"):
        read_back(row._replace(data='{"choice": "b"}'), registry)
    with pytest.raises(UnreadableEventError, match="its upcaster failed with PydanticSerializationError"):
        read_back(row._replace(schema_version=1), registry)


def test_an_event_without_fields() -> None:
    @register_event(registry=registry)
    class NothingHappened(DomainEvent):
        aggregate_type: str = "World"

    event = NothingHappened(aggregate_id=uuid4(), aggregate_version=1)
    assert stored(event).data == "{}"
    assert read_back(stored(event), registry) == event


def test_a_field_that_is_gone_is_ignored_and_a_new_one_takes_its_default() -> None:
    row = stored(an_event(text="kept"), data='{"text": "kept", "removed": 1}')
    event = read_back(row, registry)
    assert isinstance(event, EverythingHappened)
    assert (event.text, event.number) == ("kept", 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ('{"number": "many"}', "number: Input should be a valid integer"),
        ('{"lines": [{"sku": "a"}]}', r"lines\.0\.price: Field required"),
        ('{"text": ', "the document: Invalid JSON"),
        ("[1]", "the document: Invalid JSON"),
    ],
)
def test_what_its_class_refuses_is_an_error_of_that_event(data: str, reason: str) -> None:
    row = stored(an_event(), data=data)
    with pytest.raises(
        UnreadableEventError,
        match=f"Event {row.event_id} of type 'EverythingHappened' cannot be read: {reason}",
    ):
        read_back(row, registry)


def test_a_payload_stays_out_of_the_error() -> None:
    row = stored(an_event(), data='{"number": "a secret"}')
    with pytest.raises(UnreadableEventError) as caught:
        read_back(row, registry)
    assert "secret" not in str(caught.value)


def test_an_unknown_type_and_a_newer_version_are_errors_of_their_own() -> None:
    with pytest.raises(UnknownEventTypeError, match="'Elsewhere'"):
        read_back(stored(an_event(), event_type="Elsewhere"), registry)
    with pytest.raises(
        NewerSchemaVersionError, match="'EverythingHappened' was stored with schema version 2"
    ):
        read_back(stored(an_event(), schema_version=2), registry)


def test_old_versions_are_lifted_and_a_gap_is_an_error_of_that_event() -> None:
    own = EventRegistry()

    @register_event(registry=own)
    class Renamed(DomainEvent):
        aggregate_type: str = "World"
        schema_version: int = 3
        full_name: str

    @upcaster("Renamed", from_version=2, registry=own)
    def _(payload: dict[str, Any]) -> dict[str, Any]:
        return {"full_name": f"{payload['first']} {payload['last']}"}

    row = stored(
        an_event(), event_type="Renamed", schema_version=2, data='{"first": "Ada", "last": "L\\u00e9"}'
    )
    event = read_back(row, own)
    assert isinstance(event, Renamed)
    assert (event.full_name, event.schema_version) == ("Ada Lé", 3)
    with pytest.raises(UpcasterGapError, match="'Renamed' has no upcaster from schema version 1"):
        read_back(row._replace(schema_version=1), own)


def test_the_limit_counts_bytes_not_characters() -> None:
    event = an_event(text="é" * 100)
    size = len(encode_payload(event)[0].encode())
    assert encode_payload(event, max_bytes=size)
    with pytest.raises(InvalidEventError, match=f"is {size} bytes, above the limit of {size - 1}"):
        encode_payload(event, max_bytes=size - 1)
