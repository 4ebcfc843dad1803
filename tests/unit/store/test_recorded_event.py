"""A recorded event decodes itself on first use: what cannot be read is an error of that event alone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from eventsource_app.events import UnknownEventTypeError, UnreadableEventError
from eventsource_app.store import RecordedEvent
from tests.builders import MoneyPaidIn, a_stream, paid_in, registry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_row(**changes: Any) -> tuple[Any, ...]:
    row: dict[str, Any] = {
        "event_id": str(UUID(int=1)),
        "event_type": "MoneyPaidIn",
        "schema_version": 1,
        "aggregate_version": 3,
        "occurred_at": '"2026-01-01T00:00:00"',
        "correlation_id": "request-1",
        "causation_id": None,
        "actor_id": None,
        "metadata": "{}",
        "data": '{"amount": "1.50"}',
        "position": 7,
        "aggregate_type": "Account",
        "aggregate_id": str(UUID(int=2)),
        "recorded_at": '"2026-01-01T00:00:00.5"',
    }
    return tuple({**row, **changes}.values())


def test_a_row_becomes_an_event() -> None:
    recorded = RecordedEvent.from_row(a_row(), registry)
    assert isinstance(recorded.event, MoneyPaidIn)
    assert recorded.event is recorded.event
    assert (recorded.position, str(recorded.event.amount)) == (7, "1.50")
    assert recorded.recorded_at == NOW + timedelta(seconds=0.5)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"event_type": "Unknown"}, UnknownEventTypeError),
        ({"data": '{"amount": "much"}'}, UnreadableEventError),
    ],
)
def test_an_unreadable_one_still_has_its_envelope(changes: dict[str, str], error: type[Exception]) -> None:
    recorded = RecordedEvent.from_row(a_row(**changes), registry)
    assert (recorded.event_id, recorded.aggregate_id) == (UUID(int=1), UUID(int=2))
    assert (recorded.aggregate_type, recorded.aggregate_version) == ("Account", 3)
    assert recorded.correlation_id == "request-1"
    assert "v3 of" in repr(recorded)
    for _ in range(2):
        with pytest.raises(error):
            _ = recorded.event


def test_one_that_was_made_of_an_event() -> None:
    event = paid_in(a_stream(), 2)
    recorded = RecordedEvent(5, event, NOW)
    assert (recorded.event, recorded.event_id, recorded.aggregate_version) == (event, event.event_id, 2)
    assert (recorded.event_type, recorded.recorded_at) == ("MoneyPaidIn", NOW)


def test_two_of_the_same_are_equal() -> None:
    one, same = RecordedEvent.from_row(a_row(), registry), RecordedEvent.from_row(a_row(), registry)
    assert one == same
    assert hash(one) == hash(same)
    assert one != RecordedEvent.from_row(a_row(position=8), registry)
    assert one == RecordedEvent(7, one.event, one.recorded_at)
    assert one != "something else"
