"""Writing: one statement stores all events of an append, or none, once it holds the fence."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError, DataError, IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors as pg_errors

from eventsource_app.events.event import MAX_NAME_LENGTH, MAX_VERSION, DomainEvent, is_storable_name
from eventsource_app.events.proving import prove
from eventsource_app.events.registry import EventRegistry, same_source
from eventsource_app.events.serialization import InvalidEventError, encode_payload
from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.fence import HOLDS_FENCE, TAKES_FENCE
from eventsource_app.store.hot_statements import HotStatement, fetch_hot
from eventsource_app.store.session import Row, fetch_all, fetch_one, violated_constraint
from eventsource_app.store.slots import slot_of
from eventsource_app.store.streams import (
    AppendResult,
    DuplicateEventError,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
)

# One event at a known place is by far the commonest append. As a statement it costs the server a third less than as a call
# of the function below, which is asked only when nothing was inserted. $1 to $13 as ``PreparedAppend.params`` has them.
INSERT = """INSERT INTO eventsource_app_event (
    aggregate_type, aggregate_id, slot, aggregate_version, event_id, event_type, schema_version, occurred_at,
    correlation_id, causation_id, actor_id, metadata, data)
SELECT $1::text, $2::uuid, $3::smallint, $4::integer + 1, $5::uuid, $6::text, $7::smallint, $8::timestamptz,
       $9::text, $10::uuid, $11::text, $12::jsonb, $13::jsonb"""
# One look at the stream's end shows a gap as well as a race that is lost already.
AT_THE_END = """
  FROM (SELECT aggregate_version FROM eventsource_app_event WHERE aggregate_type = $1::text AND aggregate_id = $2::uuid
         ORDER BY aggregate_version DESC LIMIT 1) AS last
 WHERE last.aggregate_version = $4::integer AND"""


def _insert(name: bytes, condition: str) -> HotStatement:
    """Alone it lets the index refuse what two appends do at once: that is rare, and ON CONFLICT costs each of them 10 µs."""
    alone = f"{INSERT}{condition} {TAKES_FENCE} RETURNING position"
    joining = f"{INSERT}{condition} {HOLDS_FENCE} ON CONFLICT DO NOTHING RETURNING position"
    return HotStatement(name, alone.encode(), joining.encode())


INSERT_FIRST = _insert(b"eventsource_insert_first", " WHERE")
INSERT_NEXT = _insert(b"eventsource_insert_next", AT_THE_END)
APPEND = (
    "SELECT outcome, version, position FROM eventsource_append(%s::text, %s::uuid, %s::smallint, %s::integer, "
    "%s::uuid[], %s::text[], %s::smallint[], %s::timestamptz[], %s::text[], %s::uuid[], %s::text[], "
    "%s::jsonb[], %s::jsonb[])"
)
FIND_TAKEN_ID = "SELECT event_id FROM eventsource_app_event WHERE event_id = ANY(%s::uuid[]) LIMIT 1"
EVENT_ID_CONSTRAINT = "eventsource_event_id"


class PreparedAppend(NamedTuple):
    """A checked and encoded append: sending it twice sends the very same thing."""

    stream: StreamId
    expected: ExpectedVersion
    event_ids: tuple[UUID, ...]
    params: tuple[Any, ...]


def prepare(
    stream: StreamId,
    events: Sequence[DomainEvent],
    expected: ExpectedVersion,
    registry: EventRegistry,
    max_bytes: int,
) -> PreparedAppend:
    """Check and encode; raises ``InvalidEventError`` or ``UnknownEventTypeError`` before anything is sent."""
    if not events:
        raise InvalidEventError(f"An append to stream {stream} needs at least one event.")
    _check_place(stream, events, expected)
    rows = [_encode(event, registry, max_bytes) for event in events]
    head = (
        stream.aggregate_type,
        stream.aggregate_id.hex,
        str(slot_of(stream.aggregate_id)),
        str(expected.value),
    )
    if len(rows) == 1:
        return PreparedAppend(stream, expected, (events[0].event_id,), head + rows[0])
    ids = tuple(event.event_id for event in events)
    if len(set(ids)) < len(ids):
        raise DuplicateEventError(next(i for i in ids if ids.count(i) > 1), stream)
    return PreparedAppend(
        stream, expected, ids, head + tuple(list(column) for column in zip(*rows, strict=True))
    )


def send(connection: BaseDatabaseWrapper, append: PreparedAppend) -> AppendResult:
    """Store it by a ``usable_connection``; raises ``WrongExpectedVersionError`` or ``DuplicateEventError``, with nothing stored."""
    try:
        outcome, version, position = _call(connection, append)
    except DatabaseError as error:
        _mark_broken(connection)
        refusal = _refusal(error, append)
        if refusal is None:
            raise
        raise refusal from error
    except UnicodeEncodeError as error:
        raise InvalidEventError(
            f"A name of an event for stream {append.stream} is no text: {error}."
        ) from error
    if outcome == "conflict":
        raise WrongExpectedVersionError(append.stream, append.expected, version)
    if outcome == "duplicate":
        taken = fetch_all(connection.alias, FIND_TAKEN_ID, (list(append.event_ids),))
        raise DuplicateEventError(taken[0][0] if taken else append.event_ids[0], append.stream)
    return AppendResult(version, position, repeated=outcome == "repeated")


def _refusal(error: DatabaseError, append: PreparedAppend) -> EventSourceError | None:
    """Return what the database's error says of the events; ``None`` where it says nothing of them."""
    if isinstance(error, IntegrityError) and violated_constraint(error) == EVENT_ID_CONSTRAINT:
        return DuplicateEventError(_taken_id(error, append), append.stream)
    if isinstance(error, DataError):
        reason = str(error).partition("\n")[0]
        return InvalidEventError(f"The database refuses an event for stream {append.stream}: {reason}.")
    return None


def _mark_broken(connection: BaseDatabaseWrapper) -> None:
    """An error has ended the caller's transaction: whoever goes on in it is told, since its COMMIT would be a silent rollback."""
    if connection.in_atomic_block:
        connection.needs_rollback = True


def _call(connection: BaseDatabaseWrapper, append: PreparedAppend) -> Row:
    if len(append.event_ids) > 1:
        return fetch_one(connection.alias, APPEND, append.params)
    if append.expected.is_exact and (position := _insert_one(connection, append)):
        return "appended", append.expected.value + 1, position
    # Numbered by the store; or a lost race, a repeated append, a taken id: the function finds out, and may yet append.
    place, event = append.params[:4], append.params[4:]
    return fetch_one(connection.alias, APPEND, (*place, *([value] for value in event)))


def _insert_one(connection: BaseDatabaseWrapper, append: PreparedAppend) -> int | None:
    """Return the position, or ``None`` where nothing was inserted."""
    try:
        rows = fetch_hot(connection, INSERT_NEXT if append.expected.value else INSERT_FIRST, append.params)
    except IntegrityError:
        if not connection.get_autocommit():
            raise
        return None
    return rows[0][0] if rows else None


def _check_place(stream: StreamId, events: Sequence[DomainEvent], expected: ExpectedVersion) -> None:
    """Each event belongs to the stream, and, where the place is given, stands at its own version."""
    if not isinstance(stream.aggregate_id, UUID):
        raise InvalidEventError(stream.no_uuid())
    if not 1 <= len(stream.aggregate_type) <= MAX_NAME_LENGTH:
        raise InvalidEventError(
            f"An aggregate type has 1 to {MAX_NAME_LENGTH} characters, unlike {stream.aggregate_type!r}."
        )
    if expected.value + len(events) > MAX_VERSION:
        raise InvalidEventError(f"Stream {stream} cannot go above version {MAX_VERSION}.")
    for number, event in enumerate(events, start=expected.value + 1):
        if event.aggregate_id != stream.aggregate_id or event.aggregate_type != stream.aggregate_type:
            raise InvalidEventError(
                f"Event {event.event_type!r} names {event.aggregate_type} {event.aggregate_id}, "
                f"so it cannot be appended to stream {stream}."
            )
        if expected.is_exact and event.aggregate_version != number:
            raise InvalidEventError(
                f"Event {event.event_type!r} has aggregate_version {event.aggregate_version}, but it would be version {number} "
                f"of stream {stream}; number the events upward from the expected version."
            )


def _encode(event: DomainEvent, registry: EventRegistry, max_bytes: int) -> tuple[Any, ...]:
    registered = registry.get(event.event_type)
    fields = registered.__pydantic_fields__
    if type(event) is not registered and not same_source(type(event), registered):
        raise InvalidEventError(
            f"A {type(event).__name__} cannot be stored as event type {event.event_type!r}, which is registered for "
            f"{registered.__module__}.{registered.__qualname__}."
        )
    if event.schema_version != fields["schema_version"].default:
        raise InvalidEventError(
            f"Event {event.event_type!r} has schema_version {event.schema_version}, but its class writes "
            f"{fields['schema_version'].default}; leave schema_version to the class."
        )
    for name in (event.aggregate_type, event.correlation_id, event.actor_id):
        if name is not None and not is_storable_name(name):
            raise InvalidEventError(f"An id or name of event {event.event_type!r} {_wrong_with(name)}.")
    data, metadata = encode_payload(event, max_bytes)
    if registered not in registry.proven:
        prove(event, data, metadata, registry)
    # As text: the driver's own way from these objects to the very same text takes longer.
    return (
        event.event_id.hex,
        event.event_type,
        str(event.schema_version),
        event.occurred_at.isoformat(),
        event.correlation_id,
        event.causation_id and event.causation_id.hex,
        event.actor_id,
        metadata,
        data,
    )


def _wrong_with(name: object) -> str:
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not a text"
    if "\0" in name:
        return "has a NUL character; remove it"
    return f"has {len(name)} characters, not 1 to {MAX_NAME_LENGTH}"


def _taken_id(error: IntegrityError, append: PreparedAppend) -> UUID:
    """Return the id that PostgreSQL names in its detail (in any language): after the error nothing can be asked."""
    cause = error.__cause__
    detail = (cause.diag.message_detail or "") if isinstance(cause, pg_errors.Error) else ""
    return next((event_id for event_id in append.event_ids if str(event_id) in detail), append.event_ids[-1])
