"""The event: frozen, complete, strict about what it takes."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from eventsource_app.events import DomainEvent
from eventsource_app.events.identifiers import uuid7
from tests.builders import MoneyPaidIn, a_stream, paid_in


def test_its_type_is_its_class_name_unless_it_says_otherwise() -> None:
    class Renamed(DomainEvent):
        event_type: str = "payment.received"
        aggregate_type: str = "Account"

    class Heir(Renamed):
        pass

    assert MoneyPaidIn.declared("event_type") == "MoneyPaidIn"
    assert Renamed.declared("event_type") == "payment.received"
    assert Heir.declared("event_type") == "Heir"
    assert paid_in(a_stream()).event_type == "MoneyPaidIn"


def test_it_cannot_be_changed() -> None:
    event = paid_in(a_stream())
    with pytest.raises(ValidationError, match="frozen"):
        event.amount = 2  # type: ignore[assignment, misc]


def test_two_events_of_the_same_words_are_two() -> None:
    stream = a_stream()
    assert paid_in(stream).event_id != paid_in(stream).event_id


def test_times_are_kept_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    event = paid_in(a_stream(), occurred_at=datetime(2026, 1, 1, 3, tzinfo=tokyo))
    assert event.occurred_at == datetime(2025, 12, 31, 18, tzinfo=UTC)
    assert event.occurred_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("occurred_at", datetime(2026, 1, 1), "timezone info"),  # noqa: DTZ001
        ("aggregate_version", 0, "greater than or equal to 1"),
        ("aggregate_version", 1.5, "valid integer"),
        ("aggregate_id", "not an id", "valid UUID"),
        ("event_type", "", "at least 1 character"),
        ("actor_id", "x" * 201, "at most 200 characters"),
        ("correlation_id", "", "at least 1 character"),
        ("causation_id", "not an id", "valid UUID"),
        ("amount", float("nan"), "finite"),
        ("amount", float("inf"), "finite"),
        ("colour", "red", "Extra inputs are not permitted"),
    ],
)
def test_what_it_refuses(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        paid_in(a_stream(), **{field: value})


def test_an_actor_may_be_given_as_a_uuid() -> None:
    actor = uuid4()
    assert paid_in(a_stream(), actor_id=actor, correlation_id=actor).actor_id == str(actor)


def test_event_ids_are_of_version_7_and_grow_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    first = uuid7()
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_001_000_000)
    second = uuid7()
    assert first < second
    assert (first.version, first.variant) == (7, UUID(int=0x8 << 60).variant)
    assert first.int >> 80 == 1_700_000_000_000
    assert len({uuid7() for _ in range(1000)}) == 1000
