"""Events to stored JSON and back.

The payload is the class's own fields as JSON text; the envelope lives in columns. Decoding puts the two together as
one JSON text and validates it once, in JSON mode, so that bytes, strict fields and tuples come back as they went in.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import Secret, SecretBytes, SecretStr, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from eventsource_app.events.event import ENVELOPE, DomainEvent
from eventsource_app.events.registry import EventRegistry
from eventsource_app.exceptions import EventSourceError

DEFAULT_MAX_EVENT_BYTES = 1024 * 1024
MAX_FIELDS = 5_000
MAX_DEPTH = 64
_ENVELOPE = set(ENVELOPE)  # the serializer takes a set only
_SECRET = (Secret, SecretStr, SecretBytes)
_MASK = "*" * 10
MAX_DIGITS = 4_300
TOO_MANY_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS}}}")


class InvalidEventError(EventSourceError, ValueError):
    """An event that must not be stored; the sentence says what is wrong with it."""


class UnreadableEventError(EventSourceError):
    """A stored event that its class refuses: corrupted, or changed without an upcaster."""

    def __init__(self, event_type: str, event_id: str, reason: str) -> None:
        super().__init__(f"Event {event_id} of type {event_type!r} cannot be read: {reason}")
        self.event_type, self.event_id, self.reason = event_type, event_id, reason


class StoredEvent(NamedTuple):
    """An event as its row has it: text wherever the row is only passed on. The times are quoted JSON strings, in UTC without saying so."""

    event_id: str
    event_type: str
    schema_version: int
    aggregate_version: int
    occurred_at: str
    correlation_id: str | None
    causation_id: str | None
    actor_id: str | None
    metadata: str
    data: str
    position: int
    aggregate_type: str
    aggregate_id: str
    recorded_at: str


def encode_payload(event: DomainEvent, max_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> tuple[str, str]:
    """Return the event's (payload, metadata) as JSON texts; raises ``InvalidEventError`` for what must not be stored."""
    try:
        data = event.__pydantic_serializer__.to_json(event, exclude=_ENVELOPE).decode()
        metadata = to_json(event.metadata, inf_nan_mode="constants").decode() if event.metadata else "{}"
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidEventError(f"Event {event.event_type!r} cannot be written as JSON: {error}") from error
    _check_text(event, "payload", data, max_bytes)
    if "null" in data:
        _check_nulls(event)
    if _MASK in data:
        _check_masks(event)
    if metadata != "{}":
        _check_text(event, "metadata", metadata, max_bytes)
    return data, metadata


def _check_text(event: DomainEvent, part: str, text: str, max_bytes: int) -> None:
    """Refuse what PostgreSQL would refuse or choke on; the cheap look, which nearly every text passes, comes first."""
    is_suspicious = _is_suspicious(text)
    if not is_suspicious and len(text) <= max_bytes and text.isascii():
        return
    who = f"The {part} of event {event.event_type!r} ({event.event_id})"
    size = len(text.encode())
    if size > max_bytes:
        raise InvalidEventError(f"{who} is {size} bytes, above the limit of {max_bytes}; store a reference.")
    if not is_suspicious:
        return
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidEventError(
            f"{who} has NaN, infinity, an endless number or too deep a structure: {error}."
        ) from error
    _check_value(who, value)


def _check_nulls(event: DomainEvent) -> None:
    """A model inside the event writes NaN and infinity as null, unless its own configuration says otherwise."""
    payload = event.__pydantic_serializer__.to_python(event, exclude=_ENVELOPE, warnings=False)
    if any(isinstance(item, float) and not isfinite(item) for item in _parts(payload)):
        raise InvalidEventError(
            f"The payload of event {event.event_type!r} ({event.event_id}) has NaN or infinity, which JSON cannot keep."
        )


def _check_masks(event: DomainEvent) -> None:
    """A secret, at any depth, is written as asterisks, unless its field has a serializer that says otherwise."""
    serializer = event.__pydantic_serializer__
    for name, _ in event:
        if name in ENVELOPE or _MASK.encode() not in serializer.to_json(event, include={name}):
            continue
        if any(isinstance(item, _SECRET) for item in _parts(serializer.to_python(event, include={name}))):
            raise InvalidEventError(
                f"Field {name!r} of event {event.event_type!r} is masked when it is written, so it would never come back; "
                "give it a serializer for JSON that does not mask it, or store a reference."
            )


def _is_suspicious(text: str) -> bool:
    """Say whether the text has to be read to know; an endless number is one that PostgreSQL keeps and no reader converts.

    What a short text has no room for is not looked for.
    """
    length = len(text)
    return (
        "NaN" in text
        or "Infinity" in text
        or "\\u0000" in text
        or (length > MAX_DIGITS and TOO_MANY_DIGITS.search(text) is not None)
        or (length > MAX_FIELDS and text.count(":") > MAX_FIELDS)
        or (length > MAX_DEPTH and text.count("{") + text.count("[") > MAX_DEPTH)
    )


def _check_value(who: str, value: Any) -> None:
    fields, level = 0, [value]
    for _depth in range(MAX_DEPTH + 1):
        if not level:
            return
        if any(isinstance(item, str) and "\0" in item for item in level):
            raise InvalidEventError(f"{who} has a NUL character, which PostgreSQL cannot store; remove it.")
        fields += sum(len(item) for item in level if isinstance(item, dict))
        if fields > MAX_FIELDS:
            raise InvalidEventError(f"{who} has more than {MAX_FIELDS} fields; store a list, or a reference.")
        level = [child for item in level for child in _children(item)]
    raise InvalidEventError(f"{who} is nested deeper than {MAX_DEPTH} levels; flatten it.")


def _parts(value: Any) -> Iterator[Any]:
    """Give the value and everything in it."""
    level = [value]
    while level:
        yield from level
        level = [child for item in level for child in _children(item)]


def _children(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [*item.keys(), *item.values()]
    return list(item) if isinstance(item, list | tuple | set | frozenset) else []


def stream_fields(aggregate_type: str, aggregate_id: UUID | str) -> str:
    """Return the part of an event's JSON that is the same in all events of a stream."""
    return f'"aggregate_id":"{aggregate_id}","aggregate_type":{_quote_name(aggregate_type)}'


def decode(stored: tuple[Any, ...], shared: str, registry: EventRegistry) -> DomainEvent:
    """Return the event object of a stored row (the first ten fields of ``StoredEvent``) and its ``stream_fields``.

    Raises ``UnknownEventTypeError``, ``NewerSchemaVersionError``, ``UpcasterGapError`` or ``UnreadableEventError``.
    """
    # Unpacked at once, and nothing called for what is null: this runs for every event that anybody reads.
    (
        event_id,
        event_type,
        schema_version,
        aggregate_version,
        occurred_at,
        correlation_id,
        causation_id,
        actor_id,
        metadata,
        data,
    ) = stored[:10]
    wanted, validate_json, extra = registry.reader(event_type)
    if schema_version != wanted:
        data = _upcast(event_type, event_id, data, schema_version, wanted, registry)
    # The envelope comes last: where a key stands twice, the last one wins.
    text = (
        f'{data[:-1]}{"" if data == "{}" else ","}"event_id":"{event_id}","event_type":{_quote_name(event_type)},'
        f'"schema_version":{wanted},"occurred_at":{occurred_at[:-1]}Z",{shared},"aggregate_version":{aggregate_version},'
        f'"correlation_id":{"null" if correlation_id is None else _quote(correlation_id)},'
        f'"causation_id":{"null" if causation_id is None else _quote(causation_id)},'
        f'"actor_id":{"null" if actor_id is None else _quote(actor_id)},"metadata":{metadata}}}'
    )
    try:
        # By the fields' names, as it was written.
        event: DomainEvent = validate_json(text, extra=extra, by_name=True)
        return event
    except ValidationError as error:
        raise UnreadableEventError(event_type, event_id, _first_reason(error)) from error
    except Exception as error:  # a validator is anybody's code
        reason = f"its class failed with {type(error).__name__}: {error}"
        raise UnreadableEventError(event_type, event_id, reason) from error


_quote = encode_basestring_ascii
# The same few names over and over.
_quote_name = lru_cache(maxsize=1024)(encode_basestring_ascii)


def _upcast(
    event_type: str, event_id: str, data: str, schema_version: int, wanted: int, registry: EventRegistry
) -> str:
    payload = from_json(data)
    try:
        lifted = registry.upcasters.apply(event_type, payload, schema_version, wanted)
        return to_json(lifted).decode()
    except EventSourceError:
        raise
    except Exception as error:  # an upcaster is anybody's code
        reason = f"its upcaster failed with {type(error).__name__}: {error}"
        raise UnreadableEventError(event_type, event_id, reason) from error


def _first_reason(error: ValidationError) -> str:
    """Say where and what, without the input: payloads stay out of logs."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"{place}: {first['msg']}"
