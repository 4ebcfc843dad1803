"""The registry: event type names and the classes that read and write them."""

from collections.abc import Callable, Iterator
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin, overload
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from eventsource_app.events.event import MAX_NAME_LENGTH, MAX_SCHEMA_VERSION, DomainEvent, is_storable_name
from eventsource_app.events.upcasters import Upcast, UpcasterChain
from eventsource_app.exceptions import EventSourceError

Event = TypeVar("Event", bound=DomainEvent)
Reader = tuple[int, Callable[..., Any], str | None]
# What the columns keep; whatever can be written as JSON does for the metadata.
KINDS: Final[dict[str, type]] = {
    "event_id": UUID, "event_type": str, "schema_version": int, "occurred_at": datetime, "aggregate_id": UUID,
    "aggregate_type": str, "aggregate_version": int, "correlation_id": str, "causation_id": UUID, "actor_id": str,
}  # fmt: skip


class UnknownEventTypeError(EventSourceError):
    """No class is registered for an event type that is needed."""

    def __init__(self, event_type: str) -> None:
        super().__init__(
            f"Event type {event_type!r} is not registered; decorate its class with @register_event "
            "and import it at start-up (an app's events module is imported by itself)."
        )
        self.event_type = event_type


class DuplicateEventTypeError(EventSourceError):
    """Two classes claim one event type."""

    def __init__(self, event_type: str, registered: type[DomainEvent], refused: type[DomainEvent]) -> None:
        super().__init__(
            f"Event type {event_type!r} is already registered by {registered.__module__}.{registered.__qualname__}, "
            f"so {refused.__module__}.{refused.__qualname__} needs another event_type."
        )
        self.event_type, self.registered, self.refused = event_type, registered, refused


class InvalidEventTypeError(EventSourceError, ValueError):
    """A class declares an event type, a schema version or an envelope field that the log cannot keep."""


class EventRegistry:
    """Event classes by their ``event_type``, with the upcasters of their old schema versions.

    ``edition`` is another object after every registration: what was worked out from the classes holds as long as it is
    the same one.
    """

    def __init__(self) -> None:
        self._classes: dict[str, type[DomainEvent]] = {}
        self._readers: dict[str, Reader] = {}
        # Classes of which an event was read back at its first append in this process.
        self.proven: set[type[DomainEvent]] = set()
        self.upcasters = UpcasterChain()
        self.edition = object()

    def register(self, event_class: type[Event]) -> type[Event]:
        """Register a class; raises ``DuplicateEventTypeError`` when another class has its type, ``InvalidEventTypeError``
        when its type, its schema version or a field that it declares in the envelope could not be stored.
        """
        event_type = event_class.declared("event_type")
        _check_declared(event_class, event_type, event_class.declared("schema_version"))
        registered = self._classes.setdefault(event_type, event_class)
        if registered is not event_class and not same_source(registered, event_class):
            raise DuplicateEventTypeError(event_type, registered, event_class)
        self._classes[event_type] = event_class
        self._readers.pop(event_type, None)
        self.edition = object()  # last: whoever sees this edition sees the class too
        return event_class

    def get(self, event_type: str) -> type[DomainEvent]:
        """Return the class of an event type; raises ``UnknownEventTypeError``."""
        try:
            return self._classes[event_type]
        except KeyError:
            raise UnknownEventTypeError(event_type) from None

    def reader(self, event_type: str) -> Reader:
        """Return what reads an event type: its present schema version, what makes an event of JSON in that version, and
        what it does with fields that the class does not have.

        Kept, since a class takes longer to ask. Raises ``UnknownEventTypeError``.
        """
        reader = self._readers.get(event_type)
        if reader is None:
            event_class = self.get(event_type)
            extra = None if event_class.model_config.get("extra") == "allow" else "ignore"
            validate = event_class.__pydantic_validator__.validate_json
            reader = event_class.declared("schema_version"), validate, extra
            if event_class.__pydantic_complete__:  # otherwise its first use completes it
                self._readers[event_type] = reader
        return reader

    def __contains__(self, event_type: object) -> bool:
        return event_type in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))

    def schema_versions(self, aggregate_type: str) -> dict[str, int]:
        """Return the present schema version of each event type that may happen to an aggregate type.

        A class that declares no ``aggregate_type`` may happen to all of them.
        """
        return {
            name: event_class.declared("schema_version")
            for name, event_class in sorted(self._classes.items())
            if event_class.declared("aggregate_type") in (aggregate_type, PydanticUndefined)
        }


def _check_declared(event_class: type[DomainEvent], event_type: object, schema_version: object) -> None:
    name = f"{event_class.__module__}.{event_class.__qualname__}"
    if not is_storable_name(event_type):
        raise InvalidEventTypeError(
            f"{name} has event_type {event_type!r}; it must have 1 to {MAX_NAME_LENGTH} characters, none of them NUL."
        )
    if not isinstance(schema_version, int) or not 1 <= schema_version <= MAX_SCHEMA_VERSION:
        raise InvalidEventTypeError(
            f"{name} has schema_version {schema_version!r}; it must be a number from 1 to {MAX_SCHEMA_VERSION}."
        )
    for field, kind in KINDS.items():
        if field not in event_class.model_fields:
            continue  # a constant of the class
        annotation = event_class.model_fields[field].annotation
        if any(_is_other(declared, kind) for declared in _classes(annotation)):
            shown = annotation.__qualname__ if isinstance(annotation, type) else annotation
            raise InvalidEventTypeError(
                f"{name} declares {field} as {shown}, and the log keeps a {kind.__name__} there; declare it so, or give the "
                "class a field of another name."
            )


def _is_other(declared: type, kind: type) -> bool:
    """Say whether values of a class are surely not of the kind; a type of pydantic's own, as EmailStr, only names its values'."""
    if declared in (object, NoneType) or issubclass(declared, kind):
        return False
    return issubclass(declared, BaseModel) or not hasattr(declared, "__get_pydantic_core_schema__")


def _classes(annotation: Any) -> Iterator[type]:
    """Give the classes that an annotation names; what is not known yet, as a forward reference, names none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _classes(arguments[0])
    elif origin in (Union, UnionType):
        for argument in arguments:
            yield from _classes(argument)
    elif origin is Literal:
        yield from (type(value) for value in arguments)
    elif isinstance(annotation, NewType):
        yield from _classes(annotation.__supertype__)
    elif isinstance(origin or annotation, type):
        yield origin or annotation


def same_source(one: type, other: type) -> bool:
    """Say whether a class is the other one imported again (an autoreload, a notebook cell run twice)."""
    return one.__module__ == other.__module__ == "__main__" and one.__qualname__ == other.__qualname__


default_registry = EventRegistry()


@overload
def register_event(event_class: type[Event]) -> type[Event]: ...
@overload
def register_event(*, registry: EventRegistry = ...) -> Callable[[type[Event]], type[Event]]: ...
def register_event(
    event_class: type[Event] | None = None, *, registry: EventRegistry = default_registry
) -> type[Event] | Callable[[type[Event]], type[Event]]:
    """Class decorator that registers an event class, as ``@register_event`` or ``@register_event(registry=mine)``."""
    if event_class is None:
        return registry.register
    return registry.register(event_class)


def upcaster(
    event_type: str, *, from_version: int, registry: EventRegistry = default_registry
) -> Callable[[Upcast], Upcast]:
    """Decorate a function that lifts the payload (a dict) of ``event_type`` from ``from_version`` to the next version."""

    def decorate(upcast: Upcast) -> Upcast:
        registry.upcasters.add(event_type, from_version, upcast)
        return upcast

    return decorate
