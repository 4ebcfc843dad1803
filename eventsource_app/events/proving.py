"""The first event of a class in a process is read back before it is sent: what would not come back is refused, not lost."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import from_json

from eventsource_app.events.event import ENVELOPE, DomainEvent
from eventsource_app.events.registry import EventRegistry
from eventsource_app.events.serialization import (
    InvalidEventError,
    StoredEvent,
    UnreadableEventError,
    decode,
    stream_fields,
)

_FIELDS: Final = ("model-field", "dataclass-field", "typed-dict-field")


def prove(event: DomainEvent, data: str, metadata: str, registry: EventRegistry) -> None:
    """Read the event back once for each class; raises ``InvalidEventError`` for a class whose events would not come back.

    ``data`` and ``metadata`` are the JSON that ``encode_payload`` made of it.
    """
    read = _read_back(event, data, metadata, registry)
    lost = next(_excluded(type(event)), None)
    if lost:
        raise InvalidEventError(
            f"Field {lost!r} of event {event.event_type!r} is excluded when it is written, so it would never come back."
        )
    hidden = sorted(ENVELOPE & from_json(data).keys())
    if hidden:
        raise InvalidEventError(
            f"Event {event.event_type!r} writes {', '.join(hidden)} into its payload, where the envelope's fields of these names "
            "hide them, so they would never come back; write them by other names."
        )
    changed = next(
        (name for name, _ in event if name not in ENVELOPE and not _is_same(name, event, read)), None
    )
    if changed:
        raise InvalidEventError(
            f"Field {changed!r} of event {event.event_type!r} does not come back as it went in; make what writes it and what "
            "reads it agree."
        )
    registry.proven.add(type(event))


def _read_back(event: DomainEvent, data: str, metadata: str, registry: EventRegistry) -> DomainEvent:
    cause = None if event.causation_id is None else str(event.causation_id)
    stored = StoredEvent(
        str(event.event_id), event.event_type, event.schema_version, event.aggregate_version,
        f'"{event.occurred_at.replace(tzinfo=None).isoformat()}"', event.correlation_id, cause, event.actor_id,
        metadata, data, 0, "", "", "",
    )  # fmt: skip
    try:
        return decode(stored, stream_fields(event.aggregate_type, event.aggregate_id), registry)
    except UnreadableEventError as error:
        raise InvalidEventError(f"{error}; it would be stored and never come back.") from error


def _is_same(name: str, event: DomainEvent, read: DomainEvent) -> bool:
    """Compare by what is written, or else by the values: these need no ``__eq__``, and a set or a cipher has many writings.

    Of a model in a field that is declared as its base's, only the base's part is written.
    """
    try:
        value, came_back = getattr(event, name), getattr(read, name)
        if not Counter(_classes(came_back)) <= Counter(_classes(value)):
            return False
        return _written(name, event) == _written(name, read) or bool(value == came_back)
    except Exception:  # an array, say, whose comparison has no single answer; anybody's code
        return False


def _classes(value: Any) -> Iterator[type]:
    """Give the classes of the models and dataclasses in a value, each as often as it is there."""
    if isinstance(value, BaseModel):
        yield type(value)
        parts = [*vars(value).values()]  # it may have an iterator of its own
    elif is_dataclass(value):
        yield type(value)
        parts = [getattr(value, each.name) for each in fields(value)]
    elif isinstance(value, Mapping):
        parts = [*value.values()]
    else:
        parts = [*value] if isinstance(value, list | tuple | set | frozenset) else []
    for part in parts:
        yield from _classes(part)


def _written(name: str, event: DomainEvent) -> bytes:
    """Return one field's JSON without computed fields: those are worked out anew."""
    written: bytes = event.__pydantic_serializer__.to_json(
        event, include={name}, round_trip=True, warnings=False
    )
    return written


def _excluded(event_class: type[DomainEvent]) -> Iterator[str]:
    """Give the paths of the fields, in the event and in whatever is inside it, that are left out when it is written."""
    yield from (name for name, field in event_class.model_fields.items() if field.exclude)
    schema: Any = event_class.__pydantic_core_schema__
    shared = {each["ref"]: each for each in schema.get("definitions", ())}
    yield from _excluded_in(schema["schema"] if shared else schema, shared, "")


def _excluded_in(node: Any, shared: dict[str, Any], path: str) -> Iterator[str]:
    """Look through a part of pydantic's description of a class; ``shared`` has the parts that are named, each wanted once."""
    if isinstance(node, list | tuple):
        for item in node:
            yield from _excluded_in(item, shared, path)
    if not isinstance(node, dict) or _has_own_serializer(node):
        return
    if node.get("type") in _FIELDS:
        if node.get("serialization_exclude") is True:
            yield path
        yield from _excluded_in(node["schema"], shared, path)
        return
    yield from _excluded_in(shared.pop(node.get("schema_ref", ""), None), shared, path)
    for key, part in node.items():
        for name, inner in _named(part) if key == "fields" else [("", part)]:
            yield from _excluded_in(inner, shared, f"{path}.{name}".strip("."))


def _named(fields: Any) -> Iterator[tuple[str, Any]]:
    """Give the fields of a model, a typed dict or a dataclass by their names."""
    if isinstance(fields, dict):
        yield from fields.items()
    else:
        yield from ((field["name"], field) for field in fields if isinstance(field, dict))


def _has_own_serializer(node: dict[str, Any]) -> bool:
    """Say whether a function of the class writes it: what that leaves out is not known."""
    serialization = node.get("serialization")
    return isinstance(serialization, dict) and str(serialization.get("type")).startswith("function")
