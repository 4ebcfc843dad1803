"""What every event store must do, as tests: subclass ``EventStoreBehaviour`` in a test file and give it a ``store``.

    class TestMyStore(EventStoreBehaviour):
        @pytest.fixture
        def store(self, transactional_db):
            return MyStore(registry=self.registry)

The store knows the events in ``registry`` and may hold others; the suite makes streams of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Protocol, TypeVar
from uuid import uuid4

from eventsource_app.events import (
    DomainEvent,
    EventRegistry,
    InvalidEventError,
    UnknownEventTypeError,
    register_event,
)
from eventsource_app.store import (
    AppendResult,
    DuplicateEventError,
    ExpectedVersion,
    RecordedEvent,
    StreamId,
    WrongExpectedVersionError,
)

ErrorType = TypeVar("ErrorType", bound=Exception)
behaviour_registry = EventRegistry()


@register_event(registry=behaviour_registry)
class Noted(DomainEvent):
    aggregate_type: str = "Notebook"
    text: str = ""


@register_event(registry=behaviour_registry)
class Crossed(DomainEvent):
    aggregate_type: str = "Notebook"


class Unregistered(DomainEvent):
    aggregate_type: str = "Notebook"


class AnyEventStore(Protocol):
    """What the suite calls; the meaning is that of ``eventsource_app.store.EventStore``."""

    def append(
        self, stream: StreamId, events: Sequence[DomainEvent], expected_version: ExpectedVersion
    ) -> AppendResult: ...

    def read_stream(
        self, stream: StreamId, from_version: int = 1, to_version: int | None = None, limit: int | None = None
    ) -> list[RecordedEvent]: ...

    def read_all(
        self,
        after: int = 0,
        limit: int = 1000,
        event_types: Iterable[str | type[DomainEvent]] | None = None,
        aggregate_types: Iterable[str] | None = None,
        partition: tuple[int, int] | None = None,
    ) -> list[RecordedEvent]: ...

    def stream_version(self, stream: StreamId) -> int: ...

    def head_position(self) -> int: ...


class EventStoreBehaviour:
    """The promises of ``append``, ``read_stream`` and ``read_all``."""

    registry: ClassVar[EventRegistry] = behaviour_registry

    def test_a_stream_gives_back_what_was_appended(self, store: AnyEventStore) -> None:
        stream = new_stream()
        events = noted(stream, 3)
        result = store.append(stream, events, ExpectedVersion.NO_STREAM)
        recorded = store.read_stream(stream)
        expect([item.event for item in recorded], events)
        expect([item.aggregate_version for item in recorded], [1, 2, 3])
        expect((result.version, result.position), (3, recorded[-1].position))
        expect(store.stream_version(stream), 3)

    def test_an_unknown_stream_is_empty(self, store: AnyEventStore) -> None:
        expect(store.read_stream(new_stream()), [])
        expect(store.stream_version(new_stream()), 0)

    def test_a_part_of_a_stream(self, store: AnyEventStore) -> None:
        stream = new_stream()
        store.append(stream, noted(stream, 5), ExpectedVersion.NO_STREAM)
        versions = [
            r.aggregate_version for r in store.read_stream(stream, from_version=2, to_version=4, limit=2)
        ]
        expect(versions, [2, 3])

    def test_streams_of_one_id_and_two_types_are_two(self, store: AnyEventStore) -> None:
        stream = new_stream()
        other = StreamId("Diary", stream.aggregate_id)
        store.append(stream, noted(stream, 2), ExpectedVersion.NO_STREAM)
        store.append(other, noted(other, 1), ExpectedVersion.NO_STREAM)
        expect((store.stream_version(stream), store.stream_version(other)), (2, 1))

    def test_exact_goes_on_from_that_version(self, store: AnyEventStore) -> None:
        stream = new_stream()
        store.append(stream, noted(stream, 2), ExpectedVersion.NO_STREAM)
        expect(store.append(stream, noted(stream, 1, first=3), ExpectedVersion.exact(2)).version, 3)

    def test_exact_refuses_a_stream_that_went_on(self, store: AnyEventStore) -> None:
        stream = new_stream()
        store.append(stream, noted(stream, 3), ExpectedVersion.NO_STREAM)
        with raises(WrongExpectedVersionError) as errors:
            store.append(stream, noted(stream, 1, first=3), ExpectedVersion.exact(2))
        expect(
            (errors[0].stream, errors[0].expected, errors[0].actual), (stream, ExpectedVersion.exact(2), 3)
        )
        expect(store.stream_version(stream), 3)

    def test_exact_refuses_a_stream_that_is_shorter(self, store: AnyEventStore) -> None:
        stream = new_stream()
        store.append(stream, noted(stream, 1), ExpectedVersion.NO_STREAM)
        with raises(WrongExpectedVersionError) as errors:
            store.append(stream, noted(stream, 1, first=6), ExpectedVersion.exact(5))
        expect(errors[0].actual, 1)
        expect(store.stream_version(stream), 1)

    def test_no_stream_refuses_a_stream_that_is_there(self, store: AnyEventStore) -> None:
        stream = new_stream()
        store.append(stream, noted(stream, 1), ExpectedVersion.NO_STREAM)
        with raises(WrongExpectedVersionError) as errors:
            store.append(stream, noted(stream, 1), ExpectedVersion.NO_STREAM)
        expect(errors[0].actual, 1)
        expect(store.stream_version(stream), 1)

    def test_stream_exists_refuses_one_that_is_not(self, store: AnyEventStore) -> None:
        stream = new_stream()
        with raises(WrongExpectedVersionError) as errors:
            store.append(stream, noted(stream, 1), ExpectedVersion.STREAM_EXISTS)
        expect(errors[0].actual, 0)
        expect(store.read_stream(stream), [])

    def test_stream_exists_appends_at_the_end(self, store: AnyEventStore) -> None:
        stream = new_stream()
        store.append(stream, noted(stream, 2), ExpectedVersion.NO_STREAM)
        expect(store.append(stream, noted(stream, 2), ExpectedVersion.STREAM_EXISTS).version, 4)
        expect([r.event.aggregate_version for r in store.read_stream(stream)], [1, 2, 3, 4])

    def test_any_appends_to_what_is_there_or_not(self, store: AnyEventStore) -> None:
        stream = new_stream()
        expect(store.append(stream, noted(stream, 1), ExpectedVersion.ANY).version, 1)
        expect(store.append(stream, noted(stream, 2), ExpectedVersion.ANY).version, 3)

    def test_the_same_append_again_returns_the_first_result(self, store: AnyEventStore) -> None:
        for expected in (ExpectedVersion.NO_STREAM, ExpectedVersion.ANY):
            stream = new_stream()
            events = noted(stream, 3)
            first = store.append(stream, events, expected)
            store.append(stream, noted(stream, 1, first=4), ExpectedVersion.exact(3))
            again = store.append(stream, events, expected)
            expect((again.version, again.position), (first.version, first.position))
            expect((first.repeated, again.repeated), (False, True))
            expect(store.stream_version(stream), 4)

    def test_a_taken_event_id_is_refused(self, store: AnyEventStore) -> None:
        stream, other = new_stream(), new_stream()
        taken = noted(stream, 1)[0]
        store.append(stream, [taken], ExpectedVersion.NO_STREAM)
        changed = taken.model_copy(update={"text": "something else"})
        elsewhere = taken.model_copy(update={"aggregate_id": other.aggregate_id})
        with raises(DuplicateEventError) as errors:
            store.append(stream, [changed], ExpectedVersion.NO_STREAM)
        with raises(DuplicateEventError) as more_errors:
            store.append(other, [elsewhere], ExpectedVersion.NO_STREAM)
        expect([error.event_id for error in (*errors, *more_errors)], [taken.event_id] * 2)
        expect(store.read_stream(other), [])

    def test_an_event_id_has_one_place(self, store: AnyEventStore) -> None:
        stream = new_stream()
        first, second = noted(stream, 2)
        store.append(stream, [first], ExpectedVersion.NO_STREAM)
        moved = first.model_copy(update={"aggregate_version": 2})
        twice = [second, second.model_copy(update={"aggregate_version": 3})]
        for events in ([moved], twice):
            with raises(DuplicateEventError):
                store.append(stream, events, ExpectedVersion.exact(1))
        expect([item.event for item in store.read_stream(stream)], [first])

    def test_an_append_is_all_or_nothing(self, store: AnyEventStore) -> None:
        stream, other = new_stream(), new_stream()
        taken = noted(stream, 1)[0]
        store.append(stream, [taken], ExpectedVersion.NO_STREAM)
        first, second, third = noted(other, 3)
        second = second.model_copy(update={"event_id": taken.event_id})
        with raises(DuplicateEventError) as errors:
            store.append(other, [first, second, third], ExpectedVersion.NO_STREAM)
        expect(errors[0].event_id, taken.event_id)
        expect(store.read_stream(other), [])

    def test_what_does_not_belong_is_refused(self, store: AnyEventStore) -> None:
        stream = new_stream()
        wrong_version = noted(stream, 1, first=2)
        unregistered = Unregistered(aggregate_id=stream.aggregate_id, aggregate_version=1)
        for events in ([], noted(new_stream(), 1), wrong_version):
            with raises(InvalidEventError):
                store.append(stream, events, ExpectedVersion.NO_STREAM)
        with raises(UnknownEventTypeError):
            store.append(stream, [unregistered], ExpectedVersion.NO_STREAM)
        expect(store.read_stream(stream), [])

    def test_the_log_has_every_event_once_in_order(self, store: AnyEventStore) -> None:
        start = store.head_position()
        one, two = new_stream(), new_stream()
        store.append(one, noted(one, 2), ExpectedVersion.NO_STREAM)
        store.append(two, noted(two, 2), ExpectedVersion.NO_STREAM)
        store.append(one, noted(one, 1, first=3), ExpectedVersion.exact(2))
        recorded = store.read_all(after=start)
        expect(
            [(item.aggregate_id, item.aggregate_version) for item in recorded],
            [
                (one.aggregate_id, 1),
                (one.aggregate_id, 2),
                (two.aggregate_id, 1),
                (two.aggregate_id, 2),
                (one.aggregate_id, 3),
            ],
        )
        positions = [item.position for item in recorded]
        expect(positions, sorted(set(positions)))
        expect(store.head_position(), positions[-1])

    def test_the_log_in_pages(self, store: AnyEventStore) -> None:
        after = store.head_position()
        stream = new_stream()
        store.append(stream, noted(stream, 5), ExpectedVersion.NO_STREAM)
        versions: list[list[int]] = []
        while page := store.read_all(after=after, limit=2):
            versions.append([item.aggregate_version for item in page])
            after = page[-1].position
        expect(versions, [[1, 2], [3, 4], [5]])

    def test_the_log_by_type(self, store: AnyEventStore) -> None:
        start = store.head_position()
        stream, diary = new_stream(), StreamId("Diary", uuid4())
        crossed = Crossed(aggregate_id=stream.aggregate_id, aggregate_version=2)
        store.append(stream, [*noted(stream, 1), crossed], ExpectedVersion.NO_STREAM)
        store.append(diary, noted(diary, 1), ExpectedVersion.NO_STREAM)
        for wanted in (Crossed, "Crossed"):
            expect([item.event for item in store.read_all(start, event_types=[wanted])], [crossed])
        diaries = store.read_all(start, aggregate_types=["Diary"])
        expect([item.aggregate_id for item in diaries], [diary.aggregate_id])
        expect(store.read_all(start, event_types=[]), [])

    def test_the_log_by_partition(self, store: AnyEventStore) -> None:
        start = store.head_position()
        streams = [new_stream() for _ in range(16)]
        for stream in streams:
            store.append(stream, noted(stream, 2), ExpectedVersion.NO_STREAM)
        parts = [{r.aggregate_id for r in store.read_all(start, partition=(index, 4))} for index in range(4)]
        expect(sum(len(part) for part in parts), 16)
        expect(set().union(*parts), {stream.aggregate_id for stream in streams})


def new_stream() -> StreamId:
    return StreamId("Notebook", uuid4())


def noted(stream: StreamId, count: int, first: int = 1) -> list[DomainEvent]:
    """Events at the versions ``first``, ``first + 1``, … of the stream."""
    return [
        Noted(
            aggregate_type=stream.aggregate_type,
            aggregate_id=stream.aggregate_id,
            aggregate_version=version,
            text=f"note {version}",
        )
        for version in range(first, first + count)
    ]


@contextmanager
def raises(error_type: type[ErrorType]) -> Iterator[list[ErrorType]]:
    """Expect an error and keep it in the list that is given out."""
    caught: list[ErrorType] = []
    try:
        yield caught
    except error_type as error:
        caught.append(error)
    if not caught:
        raise AssertionError(f"Expected {error_type.__name__}, but nothing was raised.")


def expect(actual: object, expected: object) -> None:
    """Compare with a message of its own: pytest rewrites no asserts in an installed package."""
    if actual != expected:
        raise AssertionError(f"Expected {expected!r}\nbut got  {actual!r}")
