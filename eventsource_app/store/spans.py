"""The spans of a stream's reads and appends, and the trace that an event carries on to its projections."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from eventsource_app.events.event import DomainEvent
from eventsource_app.observability import attributes as names
from eventsource_app.observability.spans import Attribute, Spans
from eventsource_app.store.streams import StreamId


def append_span(
    spans: Spans, stream: StreamId, events: Sequence[DomainEvent]
) -> AbstractContextManager[None]:
    about: dict[str, Attribute] = {names.DB_SYSTEM: names.POSTGRESQL, names.DB_OPERATION: "insert"}
    return spans.span("eventsource.append", about | stream_attributes(stream) | _event_attributes(events))


def read_span(spans: Spans, stream: StreamId) -> AbstractContextManager[None]:
    about: dict[str, Attribute] = {names.DB_SYSTEM: names.POSTGRESQL, names.DB_OPERATION: "select"}
    return spans.span("eventsource.read_stream", about | stream_attributes(stream))


def aggregate_span(spans: Spans, verb: str, stream: StreamId) -> AbstractContextManager[None]:
    """A span of a repository: ``eventsource.aggregate.load`` or ``eventsource.aggregate.save``."""
    return spans.span(f"eventsource.aggregate.{verb}", stream_attributes(stream))


def stream_attributes(stream: StreamId) -> dict[str, Attribute]:
    return {names.AGGREGATE_ID: str(stream.aggregate_id), names.AGGREGATE_TYPE: stream.aggregate_type}


def stamped(events: Sequence[DomainEvent], traceparent: str | None) -> Sequence[DomainEvent]:
    """Return the events with the context of the span that wrote them in their metadata, unless they have one."""
    if traceparent is None:
        return events
    return [
        event
        if names.TRACEPARENT in event.metadata
        else event.model_copy(update={"metadata": {**event.metadata, names.TRACEPARENT: traceparent}})
        for event in events
    ]


def _event_attributes(events: Sequence[DomainEvent]) -> dict[str, Attribute]:
    """One event's own, or the lists of several."""
    ids, types = [str(event.event_id) for event in events], [event.event_type for event in events]
    if len(events) == 1:
        return {names.EVENT_ID: ids[0], names.EVENT_TYPE: types[0]}
    return {names.EVENT_ID: ids, names.EVENT_TYPE: types}
