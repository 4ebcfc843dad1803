"""What must not be stored is refused at the border with a sentence, and nothing is stored."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from math import inf, nan
from typing import Any, cast
from uuid import uuid4

import pytest
from django.db import transaction
from pydantic import (
    BaseModel,
)
from pytest_django import Settings

from eventsource_app.events import DomainEvent, EventRegistry, InvalidEventError, UnknownEventTypeError
from eventsource_app.models import Event
from eventsource_app.store import EventStore, ExpectedVersion, StreamId, appending
from tests.builders import ACCOUNT, NoteTaken, a_store, a_stream, accounts, note, paid_in

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
STREAM = a_stream()
NEW_YORK = timezone(timedelta(hours=-5))


def nested(depth: int) -> Any:
    value: Any = "the end"
    for _ in range(depth):
        value = [value]
    return value


class Measured(BaseModel):
    """Has no ``ser_json_inf_nan`` of its own, so it writes NaN as null."""

    value: float | None


class Impostor(DomainEvent):
    event_type: str = "MoneyPaidIn"
    aggregate_type: str = ACCOUNT
    amount: Decimal
    note: str = "which nobody would read"


# Each gives an event of STREAM, or refuses to.
REFUSED_EVENTS: dict[str, tuple[Callable[[], DomainEvent], str]] = {
    "NaN in a field": (lambda: paid_in(STREAM, amount="NaN"), "finite number"),
    "infinity in a field": (lambda: paid_in(STREAM, amount=Decimal("-Infinity")), "finite number"),
    "NaN in the payload": (lambda: note(STREAM, {"a": [nan]}), "has NaN, infinity"),
    "infinity in the payload": (lambda: note(STREAM, -inf), "has NaN, infinity"),
    "NaN in metadata": (lambda: note(STREAM, "", metadata={"rate": nan}), "metadata .* has NaN, infinity"),
    "infinity in metadata": (
        lambda: note(STREAM, "", metadata={"a": {"b": [inf]}}),
        "metadata .* has NaN, infinity",
    ),
    "NUL in a field": (lambda: note(STREAM, "a\0b"), "payload .* has a NUL character"),
    "NUL in a key": (lambda: note(STREAM, {"a\0": 1}), "payload .* has a NUL character"),
    "NUL after a backslash": (lambda: note(STREAM, "\\\0"), "payload .* has a NUL character"),
    "NUL in metadata": (lambda: note(STREAM, "", metadata={"a": ["\0"]}), "metadata .* has a NUL character"),
    "NUL in an actor": (lambda: note(STREAM, "", actor_id="a\0"), "NUL character"),
    "NUL in a correlation id": (lambda: note(STREAM, "", correlation_id="a\0"), "NUL character"),
    "a lone surrogate in a field": (
        lambda: note(STREAM, "\ud800"),
        "cannot be written as JSON: .*surrogates",
    ),
    "a lone surrogate in a key": (lambda: note(STREAM, {"\udfff": 1}), "cannot be written as JSON"),
    "a lone surrogate in metadata": (
        lambda: note(STREAM, "", metadata={"a": "\udc00"}),
        "cannot be written as JSON",
    ),
    "a lone surrogate in an actor": (
        lambda: note(STREAM, "", actor_id="\ud800"),
        "unable to parse raw data as a unicode string",
    ),
    "2 MiB": (
        lambda: note(STREAM, "x" * 2 * MIB),
        f"is {2 * MIB + 11} bytes, above the limit of {MIB}; store a reference",
    ),
    "2 MiB in few characters": (lambda: note(STREAM, "\N{GRINNING FACE}" * (MIB // 2)), "above the limit"),
    "2 MiB of metadata": (
        lambda: note(STREAM, "", metadata={"x": "y" * 2 * MIB}),
        "metadata .* above the limit",
    ),
    "10,000 fields": (
        lambda: note(STREAM, dict.fromkeys(map(str, range(10_000)), 1)),
        "more than 5000 fields",
    ),
    "10,000 fields in parts": (
        lambda: note(STREAM, [dict.fromkeys(map(str, range(10)), 1)] * 1000),
        "more than 5000 fields",
    ),
    "too deep": (lambda: note(STREAM, nested(100)), "nested deeper than 64 levels"),
    "bottomless": (lambda: note(STREAM, nested(100_000)), "cannot be written as JSON|too deep|nested deeper"),
    "a number without end": (lambda: note(STREAM, [10**5000]), "endless number"),
    "something that is no JSON": (lambda: note(STREAM, object()), "cannot be written as JSON"),
    "a time without a zone": (lambda: paid_in(STREAM, occurred_at=datetime(2026, 1, 1)), "timezone info"),  # noqa: DTZ001
    "a time outside the calendar": (
        lambda: paid_in(STREAM, occurred_at=datetime(9999, 12, 31, 23, tzinfo=NEW_YORK)),
        "outside the calendar",
    ),
    "version 0": (lambda: paid_in(STREAM, 0), "greater than or equal to 1"),
    "a version beyond the column": (lambda: paid_in(STREAM, 2**31), "less than or equal to"),
    "a negative schema version": (lambda: paid_in(STREAM, schema_version=-1), "greater than or equal to 1"),
    "a schema version of one's own": (
        lambda: paid_in(STREAM, schema_version=7),
        "leave schema_version to the class",
    ),
    "an empty type": (lambda: paid_in(STREAM, event_type=""), "at least 1 character"),
    "another class's type": (
        lambda: paid_in(STREAM, event_type="NoteTaken"),
        "cannot be stored as event type",
    ),
    "a name that is too long": (lambda: note(STREAM, "", actor_id="x" * 201), "at most 200 characters"),
    "a name that was not checked": (
        lambda: note(STREAM, "").model_copy(update={"actor_id": "x" * 201}),
        "has 201 characters, not 1 to 200",
    ),
    "a name that is no text": (
        lambda: note(STREAM, "").model_copy(update={"actor_id": 7}),
        "id or name of event 'NoteTaken' is a int, not a text",
    ),
    "an empty name": (
        lambda: note(STREAM, "").model_copy(update={"correlation_id": ""}),
        "has 0 characters, not 1 to 200",
    ),
    "NaN in a model inside": (lambda: note(STREAM, [Measured(value=nan)]), "has NaN or infinity"),
    "infinity in a model inside": (
        lambda: note(STREAM, {"a": {"b": Measured(value=-inf)}}),
        "has NaN or infinity",
    ),
    "a class that took another's type": (
        lambda: Impostor(**dict(paid_in(STREAM))),
        r"A Impostor cannot be stored as event type 'MoneyPaidIn', which is registered for tests\.builders\.MoneyPaidIn",
    ),
    "an unknown field": (lambda: paid_in(STREAM, surprise=1), "Extra inputs are not permitted"),
    "the id of another aggregate": (lambda: paid_in(a_stream()), "so it cannot be appended to stream"),
    "the type of another aggregate": (
        lambda: paid_in(StreamId("Safe", STREAM.aggregate_id)),
        "names Safe .* so it cannot be appended to stream Account",
    ),
    "a version that is not the next": (
        lambda: paid_in(STREAM, 5),
        "has aggregate_version 5, but it would be version 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED_EVENTS)
def test_it_is_refused_with_a_sentence_and_nothing_is_stored(case: str) -> None:
    make_event, sentence = REFUSED_EVENTS[case]
    store = a_store()
    with pytest.raises(ValueError, match=sentence):  # noqa: PT012 - some are refused as events, some by the append
        event = make_event()
        store.append(STREAM, [event], ExpectedVersion.NO_STREAM)
    assert Event.objects.count() == 0


@pytest.mark.parametrize("case", REFUSED_EVENTS)
def test_a_bad_one_takes_its_whole_append_with_it(case: str) -> None:
    make_event, _ = REFUSED_EVENTS[case]
    store = a_store()
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence is the test's above
        store.append(STREAM, [paid_in(STREAM), make_event()], ExpectedVersion.NO_STREAM)
    assert Event.objects.count() == 0


def test_an_empty_append_is_refused() -> None:
    with pytest.raises(ValueError, match=f"append to stream {STREAM} needs at least one event"):
        a_store().append(STREAM, [], ExpectedVersion.ANY)


def test_what_the_database_refuses_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    a_store().append(
        STREAM, [note(STREAM, "")], ExpectedVersion.NO_STREAM
    )  # the first of a class is read back
    monkeypatch.setattr(appending, "is_storable_name", lambda _: True)  # a check that somebody forgot
    event = note(STREAM, "", 2).model_copy(update={"actor_id": "x" * 201})
    with pytest.raises(InvalidEventError, match=f"refuses an event for stream {STREAM}: value too long"):
        a_store().append(STREAM, [event], ExpectedVersion.exact(1))
    assert Event.objects.count() == 1


def test_an_id_as_text_is_refused() -> None:
    stream = StreamId(ACCOUNT, cast("Any", str(uuid4())))
    with pytest.raises(InvalidEventError, match="is a str; it must be a UUID"):
        a_store().append(stream, [paid_in(a_stream())], ExpectedVersion.NO_STREAM)


@pytest.mark.parametrize("aggregate_id", ["00000000-0000-0000-0000-000000000001", None], ids=["text", "None"])
def test_a_stream_is_not_read_by_what_is_no_uuid(aggregate_id: object) -> None:
    """As a view has it that took the id from its path as text."""
    kind = type(aggregate_id).__name__
    for read in (accounts().load, lambda each: a_store().read_stream(StreamId(ACCOUNT, each))):
        with pytest.raises(
            TypeError, match=f"aggregate id of stream {ACCOUNT} .* is a {kind}; it must be a UUID"
        ):
            read(cast("Any", aggregate_id))


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_name_with_nul_is_no_other_stream(in_transaction: bool) -> None:
    store, stream = a_store(), a_stream()
    store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
    with transaction.atomic() if in_transaction else nullcontext():
        assert store.read_stream(StreamId(f"{ACCOUNT}\0evil", stream.aggregate_id)) == []
        assert store.stream_version(StreamId(f"{ACCOUNT}\0evil", stream.aggregate_id)) == 0


def test_versions_beyond_the_column_are_just_not_there() -> None:
    store, stream = a_store(), a_stream()
    store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
    assert store.read_stream(stream, from_version=2**40) == []
    assert store.read_stream(stream, to_version=-(2**40)) == []
    assert len(store.read_stream(stream, to_version=2**40)) == 1
    assert len(store.read_stream(stream, from_version=-(2**40))) == 1
    assert len(store.read_stream(stream, limit=2**70)) == len(store.read_all(limit=2**70)) == 1


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit=-1 cannot be"):
        a_store().read_stream(STREAM, limit=-1)
    with pytest.raises(ValueError, match="limit=-1 cannot be"):
        a_store().read_all(limit=-1)


@pytest.mark.parametrize("option", ["event_types", "aggregate_types"])
def test_one_name_where_a_list_is_asked_for_is_refused(option: str) -> None:
    """Taken for a list of its letters it would find nothing, in silence."""
    filters: dict[str, Any] = {option: "Account"}
    with pytest.raises(ValueError, match=f"{option}='Account' cannot be: use a list of names"):
        a_store().read_all(**filters)


@pytest.mark.parametrize("aggregate_type", ["", "x" * 201, "a\0b"])
def test_an_impossible_aggregate_type_is_refused(aggregate_type: str) -> None:
    stream = StreamId(aggregate_type, uuid4())
    with pytest.raises(InvalidEventError, match=r"An aggregate type has 1 to 200 characters|NUL character"):
        a_store().append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)


def test_a_version_beyond_the_column_is_refused() -> None:
    with pytest.raises(InvalidEventError, match=f"Stream {STREAM} cannot go above version 2147483647"):
        a_store().append(STREAM, [paid_in(STREAM)], ExpectedVersion.exact(2**31 - 1))


def test_a_negative_expectation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exact\(-1\) can never be met"):
        ExpectedVersion.exact(-1)


def test_an_unregistered_event_is_refused_with_its_type() -> None:
    store = EventStore(registry=EventRegistry())
    with pytest.raises(UnknownEventTypeError, match="'MoneyPaidIn' is not registered") as caught:
        store.append(STREAM, [paid_in(STREAM)], ExpectedVersion.NO_STREAM)
    assert caught.value.event_type == "MoneyPaidIn"
    assert Event.objects.count() == 0


def test_the_payload_limit_is_a_setting(settings: Settings) -> None:
    settings.EVENTSOURCE = {"MAX_EVENT_BYTES": 100}
    store = a_store()
    store.append(STREAM, [note(STREAM, "x" * 89)], ExpectedVersion.NO_STREAM)
    with pytest.raises(ValueError, match="is 101 bytes, above the limit of 100"):
        store.append(STREAM, [note(STREAM, "x" * 90, 2)], ExpectedVersion.exact(1))
    settings.EVENTSOURCE = {"MAX_EVENT_BYTES": 3 * MIB}
    store.append(STREAM, [note(STREAM, "x" * 2 * MIB, 2)], ExpectedVersion.exact(1))
    assert store.stream_version(STREAM) == 2


HARMLESS: dict[str, Any] = {
    "words that look bad": "NaN, Infinity and \\u0000",
    "a backslash": "\\",
    "the whole plane": "\u0001\u001f\u007f\u2028\uffff\N{GRINNING FACE}",
    "the limit's depth": nested(60),
    "many brackets and colons in text": "{[:" * 10_000,
    "many fields, just under the limit": dict.fromkeys(map(str, range(4_999)), 1),
    "a long list": list(range(20_000)),
    "a big number": 10**4_000,
    "many digits in text": "1" * 5_000,
    "a small number": 5e-324,
    "nothing": None,
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_only_looks_bad_is_kept_as_it_is(case: str) -> None:
    store, stream = a_store(), a_stream()
    event = note(stream, HARMLESS[case], metadata={"again": HARMLESS[case]})
    store.append(stream, [event], ExpectedVersion.NO_STREAM)
    assert [recorded.event for recorded in store.read_stream(stream)] == [event]


def test_a_payload_may_have_a_field_with_the_name_of_a_column() -> None:
    """Positions and slots are the store's; a payload's own words never get in their way."""
    store, stream = a_store(), a_stream()
    event = note(stream, {"position": 1, "event_id": str(uuid4()), "data": {}, "aggregate_version": 99})
    store.append(stream, [event], ExpectedVersion.NO_STREAM)
    [recorded] = store.read_stream(stream)
    assert recorded.event == event
    assert isinstance(recorded.event, NoteTaken)


def test_a_time_of_any_zone_is_kept_in_utc() -> None:
    store, stream = a_store(), a_stream()
    event = paid_in(stream, occurred_at=datetime(2026, 1, 1, 20, 0, 0, 123456, tzinfo=NEW_YORK))
    store.append(stream, [event], ExpectedVersion.NO_STREAM)
    [recorded] = store.read_stream(stream)
    assert recorded.event.occurred_at == datetime(2026, 1, 2, 1, 0, 0, 123456, tzinfo=UTC)
    assert recorded.event.occurred_at.tzinfo is not None
    assert recorded.event.occurred_at.utcoffset() == timedelta(0)
