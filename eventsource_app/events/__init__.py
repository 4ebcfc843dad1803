"""Events: what happened, as frozen pydantic models. No Django in this package."""

from eventsource_app.events.event import DomainEvent
from eventsource_app.events.registry import (
    DuplicateEventTypeError,
    EventRegistry,
    InvalidEventTypeError,
    UnknownEventTypeError,
    default_registry,
    register_event,
    upcaster,
)
from eventsource_app.events.serialization import InvalidEventError, UnreadableEventError
from eventsource_app.events.upcasters import DuplicateUpcasterError, NewerSchemaVersionError, UpcasterGapError

__all__ = [
    "DomainEvent",
    "DuplicateEventTypeError",
    "DuplicateUpcasterError",
    "EventRegistry",
    "InvalidEventError",
    "InvalidEventTypeError",
    "NewerSchemaVersionError",
    "UnknownEventTypeError",
    "UnreadableEventError",
    "UpcasterGapError",
    "default_registry",
    "register_event",
    "upcaster",
]
