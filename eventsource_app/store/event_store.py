"""The event store: append to streams, read streams, read the whole log."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from eventsource_app.events.event import MAX_VERSION, DomainEvent
from eventsource_app.events.registry import EventRegistry, default_registry
from eventsource_app.events.serialization import DEFAULT_MAX_EVENT_BYTES, decode, stream_fields
from eventsource_app.observability import metrics, tracing
from eventsource_app.store import appending, fence
from eventsource_app.store.hot_statements import HotStatement, fetch_hot
from eventsource_app.store.notifications import wake_up_after_commit
from eventsource_app.store.reading import (
    READ_FOLLOWERS,
    READ_STREAM,
    REPLAY,
    STREAM_VERSION,
    WINDOW,
    FeedFilter,
    feed_statement,
)
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.session import Row, fetch_all, log_database, option, usable_connection
from eventsource_app.store.spans import append_span, read_span, stamped
from eventsource_app.store.streams import AppendResult, ExpectedVersion, StreamId, WrongExpectedVersionError
from eventsource_app.store.text_cursor import TextCursor

Types = Iterable[str | type[DomainEvent]]


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A read of the log: the events, and the position up to which nothing else matched."""

    events: list[RecordedEvent]
    through: int


class EventStore:
    """Events in PostgreSQL, on the Django database ``using`` (``EVENTSOURCE["DATABASE"]``, by default ``"default"``); it joins the caller's transaction where there is one.

    With ``enable_tracing`` it has spans where the process has tracing (``OTLP_ENDPOINT``).
    """

    def __init__(
        self,
        using: str | None = None,
        *,
        registry: EventRegistry = default_registry,
        enable_tracing: bool = True,
    ) -> None:
        self.using = using or log_database()
        self.registry = registry
        self.enable_tracing = enable_tracing

    def append(
        self, stream: StreamId, events: Sequence[DomainEvent], expected_version: ExpectedVersion
    ) -> AppendResult:
        """Store the events at the end of the stream: all or none, in one round trip outside a transaction.

        With ``ANY`` and ``STREAM_EXISTS`` the store numbers the events; otherwise each must carry its own version.
        The very same events (ids, types, schema versions, payloads) at the same place return the first result again.

        Raises ``WrongExpectedVersionError`` (a lost race; the caller's transaction survives it),
        ``DuplicateEventError``, ``InvalidEventError``, ``UnknownEventTypeError``.
        """
        spans = tracing.spans if self.enable_tracing else None
        if spans is None:
            return self._append(stream, events, expected_version)
        cause = spans.traceparent()
        with append_span(spans, stream, events):
            return self._append(stream, stamped(events, cause or spans.traceparent()), expected_version)

    def read_stream(
        self, stream: StreamId, from_version: int = 1, to_version: int | None = None, limit: int | None = None
    ) -> list[RecordedEvent]:
        """Return the stream's events in order of version; an empty list where there is no such stream."""
        if limit is not None:
            _check_limit(limit)
        bounds = (
            _in_column(from_version),
            _in_column(MAX_VERSION if to_version is None else to_version),
            None if limit is None else _in_column(limit),  # no stream has more events than versions
        )
        return self._records(self._ask_stream(READ_STREAM, stream, bounds))

    def replay(self, stream: StreamId) -> tuple[Iterator[DomainEvent], int]:
        """Return the stream's events, each decoded when its turn comes, and the position of the last (0 where there is none).

        A thousand events kept together would cost as much garbage collection as decoding them. The iterator raises
        what ``RecordedEvent.event`` raises.
        """
        rows, registry = self._ask_stream(REPLAY, stream), self.registry
        shared = stream_fields(stream.aggregate_type, stream.aggregate_id)
        return (decode(row, shared, registry) for row in rows), rows[-1][-1] if rows else 0

    def stream_version(self, stream: StreamId) -> int:
        """Return the version of the stream's last event, 0 where there is no such stream."""
        if "\0" in stream.aggregate_type:
            return 0  # no stream can have such a name, and the driver would refuse it
        rows = fetch_all(self.using, STREAM_VERSION, (stream.aggregate_id, stream.aggregate_type))
        return int(rows[0][0]) if rows else 0

    def read_all(
        self,
        after: int = 0,
        limit: int = 1000,
        event_types: Types | None = None,
        aggregate_types: Iterable[str] | None = None,
        partition: tuple[int, int] | None = None,
    ) -> list[RecordedEvent]:
        """Return up to ``limit`` events above position ``after``, in order, never past an append that still runs.

        ``partition`` is (index, count). Call again with the last position to go on; an empty list is the log's end.
        """
        _check_limit(limit)
        feed_filter = FeedFilter(type_names(event_types), _aggregate_type_names(aggregate_types), partition)
        bound, after = fence.read_bound(self.using).bound, max(after, 0)
        found: list[RecordedEvent] = []
        while after < bound and len(found) < limit:
            page = self.read_feed(after, bound, min(limit - len(found), WINDOW), feed_filter)
            found += page.events
            after = page.through
        return found

    def read_feed(self, after: int, bound: int, limit: int, feed_filter: FeedFilter) -> FeedPage:
        """Return one page of at most one window of positions, up to a ``bound`` that ``read_bound`` gave."""
        last = min(bound, after + WINDOW)
        params = (after, last, *feed_filter.params(), limit)
        events = self._records(fetch_all(self.using, feed_statement(feed_filter), params, TextCursor))
        return FeedPage(events, events[-1].position if len(events) == limit else last)

    def read_followers(
        self, stream: StreamId, after: int, through: int, event_types: tuple[str, ...] | None, limit: int = 1
    ) -> list[RecordedEvent]:
        """Return the stream's next events between two positions (``after`` excluded), in order."""
        types = None if event_types is None else list(event_types)
        params = (stream.aggregate_id, stream.aggregate_type, after, through, types, types, limit)
        return self._records(fetch_all(self.using, READ_FOLLOWERS, params, TextCursor))

    def read_bound(self) -> fence.ReadBound:
        """Return how far the log is safe to read now; a bound stays valid for ever."""
        return fence.read_bound(self.using)

    def head_position(self) -> int:
        """Return the last position handed out; 1 on an empty log, whose position 1 is never used."""
        return fence.head_position(self.using)

    def _append(
        self, stream: StreamId, events: Sequence[DomainEvent], expected_version: ExpectedVersion
    ) -> AppendResult:
        prepared = appending.prepare(stream, events, expected_version, self.registry, self._max_bytes())
        started = time.perf_counter()
        connection = usable_connection(self.using)
        try:
            result = appending.send(connection, prepared)
        except WrongExpectedVersionError:
            metrics.append_conflicts.inc()
            raise
        if not result.repeated:
            metrics.append_seconds.observe(time.perf_counter() - started)
            metrics.appends.inc()
            metrics.appended_events.inc(len(events))
            wake_up_after_commit(connection)
        return result

    def _ask_stream(
        self, statement: HotStatement, stream: StreamId, bounds: tuple[str | None, ...] = ()
    ) -> list[Row]:
        if "\0" in stream.aggregate_type:
            return []  # no stream can have such a name, and the driver would cut it off there
        if not isinstance(stream.aggregate_id, UUID):
            raise TypeError(stream.no_uuid())
        params = (stream.aggregate_id.hex, stream.aggregate_type, *bounds)
        spans = tracing.spans if self.enable_tracing else None
        if spans is None:
            return fetch_hot(usable_connection(self.using), statement, params)
        with read_span(spans, stream):
            return fetch_hot(usable_connection(self.using), statement, params)

    def _records(self, rows: list[Row]) -> list[RecordedEvent]:
        registry = self.registry
        return [RecordedEvent.from_row(row, registry) for row in rows]

    def _max_bytes(self) -> int:
        return int(option("MAX_EVENT_BYTES", DEFAULT_MAX_EVENT_BYTES))


def _in_column(version: int) -> str:
    """Return the version, or the nearest that the column can have: there is none beyond."""
    return str(min(max(version, 0), MAX_VERSION))


def _check_limit(limit: int) -> None:
    if limit < 0:
        raise ValueError(f"limit={limit} cannot be: ask for 0 events or more.")


def type_names(event_types: Types | None) -> tuple[str, ...] | None:
    """Return the names of event types given as names or as classes."""
    if event_types is None:
        return None
    _check_no_text("event_types", event_types)
    return tuple(t if isinstance(t, str) else str(t.declared("event_type")) for t in event_types)


def _aggregate_type_names(aggregate_types: Iterable[str] | None) -> tuple[str, ...] | None:
    if aggregate_types is None:
        return None
    _check_no_text("aggregate_types", aggregate_types)
    return tuple(aggregate_types)


def _check_no_text(name: str, value: object) -> None:
    """One name is an iterable of its letters, and no event has those for its type."""
    if isinstance(value, str):
        raise ValueError(f"{name}={value!r} cannot be: use a list of names.")
