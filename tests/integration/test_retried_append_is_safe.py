"""Sending an append again after a lost answer changes nothing; an id with other content is refused."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import connection

from eventsource_app.events import DomainEvent
from eventsource_app.store import AppendResult, DuplicateEventError, ExpectedVersion, StreamId
from tests.builders import a_store, a_stream, ids, paid_in, payments

pytestmark = pytest.mark.django_db(transaction=True)
EXACT, ANY, EXISTS = ExpectedVersion.exact(1), ExpectedVersion.ANY, ExpectedVersion.STREAM_EXISTS


@pytest.mark.parametrize("expected", [EXACT, ANY, EXISTS], ids=str)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("grew", [False, True])
def test_the_same_events_again_give_the_first_result(
    expected: ExpectedVersion, count: int, grew: bool
) -> None:
    store, stream = a_store(), a_stream()
    store.append(stream, [paid_in(stream)], ExpectedVersion.NO_STREAM)
    events = payments(stream, count, first=2)
    first = store.append(stream, events, expected)
    if grew:
        store.append(stream, [paid_in(stream)], ANY)
    again = store.append(stream, events, expected)
    assert (again.version, again.position, again.repeated) == (first.version, first.position, True)
    assert len(store.read_stream(stream)) == 1 + count + grew


def test_many_at_once_store_it_once() -> None:
    """The client gave up and sent it again while the first call still ran."""
    store, stream = a_store(), a_stream()
    events = payments(stream, 3)
    start = threading.Barrier(6)

    def send(_: int) -> AppendResult:
        try:
            connection.ensure_connection()
            start.wait(10)
            return store.append(stream, events, ExpectedVersion.NO_STREAM)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(send, range(6)))
    assert len({(result.version, result.position) for result in results}) == 1
    assert sorted(result.repeated for result in results) == [False] + [True] * 5
    assert [recorded.event for recorded in store.read_stream(stream)] == events


def variations() -> list[tuple[str, Sequence[DomainEvent], Sequence[DomainEvent]]]:
    """What is stored, and what comes with an id of it: none of these is a retry."""
    stream = a_stream()
    stored = payments(stream, 3)
    one, two, three = stored
    return [
        ("other payload", stored, [one, two.model_copy(update={"amount": Decimal(7)}), three]),
        (
            "other order",
            stored,
            [
                one,
                three.model_copy(update={"aggregate_version": 2}),
                two.model_copy(update={"aggregate_version": 3}),
            ],
        ),
        ("fewer and another", stored, [one, two, paid_in(stream, 3)]),
        ("more", stored, [*stored, paid_in(stream, 4)]),
        ("another first", stored, [paid_in(stream, 1), two, three]),
    ]


@pytest.mark.parametrize(("stored", "sent"), [v[1:] for v in variations()], ids=[v[0] for v in variations()])
@pytest.mark.parametrize("expected", [ExpectedVersion.NO_STREAM, ANY], ids=str)
def test_a_taken_id_that_is_no_retry_is_refused(
    stored: Sequence[DomainEvent], sent: Sequence[DomainEvent], expected: ExpectedVersion
) -> None:
    store = a_store()
    stream = StreamId(stored[0].aggregate_type, stored[0].aggregate_id)
    store.append(stream, stored, ExpectedVersion.NO_STREAM)
    with pytest.raises(DuplicateEventError) as caught:
        store.append(stream, sent, expected)
    assert caught.value.event_id in ids(stored)
    assert str(caught.value.event_id) in str(caught.value)
    assert [recorded.event for recorded in store.read_stream(stream)] == stored


def test_an_id_of_another_stream_is_refused() -> None:
    store, stream, other = a_store(), a_stream(), a_stream()
    event = paid_in(stream)
    store.append(stream, [event], ExpectedVersion.NO_STREAM)
    for events in (
        [paid_in(other, event_id=event.event_id)],
        [paid_in(other), paid_in(other, 2, event_id=event.event_id)],
    ):
        with pytest.raises(
            DuplicateEventError, match=f"Event id {event.event_id} is already stored .* stream {other};"
        ):
            store.append(other, events, ExpectedVersion.NO_STREAM)
    assert store.read_stream(other) == []


def test_an_id_twice_in_one_append_is_refused_before_it_is_sent() -> None:
    store, stream = a_store(), a_stream()
    event_id = uuid4()
    events = [paid_in(stream, 1, event_id=event_id), paid_in(stream, 2, event_id=event_id)]
    with pytest.raises(DuplicateEventError, match=str(event_id)):
        store.append(stream, events, ExpectedVersion.NO_STREAM)
    assert store.read_stream(stream) == []
