"""A line of an export is refused where no append would have written it."""

import json
from typing import Any
from uuid import uuid4

import pytest

from eventsource_app.store.export_line import ImportRefusedError, check_line


def a_line(**changes: Any) -> bytes:
    event = {
        "position": 2,
        "event_id": str(uuid4()),
        "event_type": "Noted",
        "schema_version": 1,
        "aggregate_type": "Note",
        "aggregate_id": str(uuid4()),
        "aggregate_version": 1,
        "slot": 0,
        "occurred_at": "2026-01-31T22:59:59.9Z",
        "recorded_at": "2026-01-31T22:59:59.123456+00:00",
        "correlation_id": None,
        "causation_id": None,
        "actor_id": None,
        "metadata": {"event_id": "is at home here"},
        "data": {"nested": {"event_id": "is the payload's own"}},
    }
    return json.dumps({**event, **changes}).encode()


def refusal(**changes: Any) -> str:
    with pytest.raises(ImportRefusedError) as error:
        check_line(7, a_line(**changes), 0)
    assert error.value.line_number == 7
    return str(error.value)


def test_what_an_export_writes_is_taken() -> None:
    assert check_line(7, a_line(), 0) == 2
    assert check_line(7, a_line(occurred_at="2026-01-31T23:59:59+01:00"), 0) == 2


def test_position_1_is_never_used() -> None:
    assert refusal(position=1) == (
        "Line 7: position: Input should be greater than or equal to 2; export the log again."
    )


@pytest.mark.parametrize("field", ["occurred_at", "recorded_at"])
@pytest.mark.parametrize(
    "time",
    [
        *(
            "20260101",
            20260101,
            "2026-01-31",
            "2026-01-31T22:59:59",
            "2026-01-31 22:59:59Z",
            "infinity",
            "now",
        ),
        *(
            "2026-01-31T22:59Z",
            "2026-01-31T22:59:59.1234567Z",
            "２026-01-31T22:59:59Z",
            "2026-01-31T22:59:59Z\n",
        ),
    ],
)
def test_a_time_without_day_second_or_zone(field: str, time: object) -> None:
    assert refusal(**{field: time}) == (
        f"Line 7: {field}: Input should be a full time with its zone, as 2026-01-31T22:59:59.9Z; export the log again."
    )


@pytest.mark.parametrize(
    "time", ["2026-02-30T00:00:00Z", "2026-01-31T24:00:00Z", "0001-01-01T00:00:00+05:00"]
)
def test_a_time_that_no_event_can_have(time: str) -> None:
    assert refusal(occurred_at=time).startswith("Line 7: occurred_at: ")


def test_the_envelopes_fields_are_not_in_a_payload() -> None:
    assert refusal(data={"price": 1, "event_id": 2, "actor_id": None}) == (
        "Line 7: data: The payload has the envelope's fields actor_id, event_id; export the log again."
    )
