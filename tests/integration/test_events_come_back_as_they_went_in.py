"""Whatever an event's fields are, the database gives back the same event; PostgreSQL's own JSON is in the way."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from eventsource_app.events import DomainEvent, EventRegistry, register_event
from eventsource_app.store import EventStore, ExpectedVersion, StreamId
from tests.builders import a_store, a_stream, accounts, paid_in

registry = EventRegistry()


@register_event(registry=registry)
class Measured(DomainEvent):
    aggregate_type: str = "Gauge"
    text: str
    number: int
    ratio: float
    amount: Decimal
    day: date
    span: timedelta
    pair: tuple[int, str]
    tags: frozenset[str]
    anything: Any


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=12,
)
EVENTS = st.builds(
    Measured,
    aggregate_id=st.uuids(),
    aggregate_version=st.just(1),
    occurred_at=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()),  # noqa: DTZ001
    correlation_id=st.none() | NAME,
    causation_id=st.none() | st.uuids(),
    actor_id=st.none() | NAME,
    metadata=st.dictionaries(TEXT, JSON, max_size=3),
    text=TEXT,
    number=st.integers(-(10**30), 10**30),
    ratio=FLOATS,
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    day=st.dates(),
    span=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
    pair=st.tuples(st.integers(-5, 5), TEXT),
    tags=st.frozensets(TEXT, max_size=3),
    anything=JSON,
)


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(event=EVENTS)
def test_any_event(event: Measured) -> None:
    store = EventStore(registry=registry)
    stream = StreamId(event.aggregate_type, event.aggregate_id)
    # Any, since an example may come with the id of an earlier one.
    store.append(stream, [event], ExpectedVersion.ANY)
    recorded = store.read_stream(stream)[-1]
    assert recorded.event.model_copy(update={"aggregate_version": 1}) == event
    assert str(recorded.event.model_dump()["amount"]) == str(event.amount), "an amount lost its places"


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["America/Chicago", "Asia/Tokyo", "Africa/Monrovia"])
@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, 0, 0, 5, tzinfo=UTC),
        datetime(1870, 1, 1, 12, tzinfo=UTC),
        datetime(2026, 7, 1, 12, 0, 0, 500, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    ids=str,
)
def test_any_time_whatever_the_sessions_zone(zone: str, moment: datetime) -> None:
    """A project's DATABASES may have a TIME_ZONE: there such a time has seconds in its offset, or another era."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
    stream = a_stream()
    a_store().append(stream, [paid_in(stream, occurred_at=moment)], ExpectedVersion.NO_STREAM)
    for recorded in (*a_store().read_stream(stream), *a_store().read_all()):
        assert (recorded.event.occurred_at, recorded.recorded_at.tzinfo) == (moment, UTC)
    assert accounts().load(stream.aggregate_id).version == 1


class Session(BaseModel):
    device: str


@register_event(registry=registry)
class Asked(DomainEvent):
    """Demands of its envelope what others may leave out."""

    aggregate_type: str = "Gauge"
    actor_id: str
    correlation_id: str
    causation_id: UUID
    metadata: Session  # type: ignore[assignment]


@pytest.mark.django_db
def test_a_class_may_demand_what_the_envelope_leaves_open() -> None:
    event = Asked(
        aggregate_id=uuid4(), aggregate_version=1, actor_id="Ada", correlation_id="c", causation_id=uuid4(),
        metadata=Session(device="phone"),
    )  # fmt: skip
    store, stream = EventStore(registry=registry), StreamId("Gauge", event.aggregate_id)
    store.append(stream, [event], ExpectedVersion.NO_STREAM)
    assert [recorded.event for recorded in store.read_stream(stream)] == [event]
