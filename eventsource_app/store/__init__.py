"""The event store's front door."""

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.streams import (
    AppendResult,
    DuplicateEventError,
    ExpectedVersion,
    StreamId,
    WrongExpectedVersionError,
)

__all__ = [
    "AppendResult",
    "DuplicateEventError",
    "EventStore",
    "ExpectedVersion",
    "RecordedEvent",
    "StreamId",
    "WrongExpectedVersionError",
]
