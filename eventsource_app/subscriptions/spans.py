"""The spans of handled events: each linked to the request that wrote the event, by the context in its metadata."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

from eventsource_app.observability import attributes as names
from eventsource_app.observability.spans import Attribute, Spans
from eventsource_app.store.recorded_event import RecordedEvent

# As many links as OpenTelemetry keeps of one span.
MAX_LINKS: Final = 128


def handling_span(
    spans: Spans, subscription: str, batch: Sequence[RecordedEvent]
) -> AbstractContextManager[None]:
    """A span of one event, or of the batch that ``handle_batch`` takes at once."""
    about = _event_attributes(batch[0]) if len(batch) == 1 else {names.EVENT_COUNT: len(batch)}
    return spans.span("eventsource.handle", _about(subscription) | about, _links(batch), consumes=True)


def _event_attributes(recorded: RecordedEvent) -> dict[str, Attribute]:
    return {
        names.EVENT_ID: str(recorded.event_id),
        names.EVENT_TYPE: recorded.event_type,
        names.AGGREGATE_ID: str(recorded.aggregate_id),
        names.AGGREGATE_TYPE: recorded.aggregate_type,
    }


def _about(subscription: str) -> dict[str, Attribute]:
    # Nothing is handled in any other state.
    return {names.SUBSCRIPTION_NAME: subscription, names.SUBSCRIPTION_STATE: "running"}


def _links(batch: Sequence[RecordedEvent]) -> list[str]:
    found = dict.fromkeys(traceparent for recorded in batch if (traceparent := _traceparent(recorded)))
    return list(found)[:MAX_LINKS]


def _traceparent(recorded: RecordedEvent) -> str | None:
    metadata = recorded.envelope.metadata
    if isinstance(metadata, str):
        metadata = json.loads(metadata) if names.TRACEPARENT in metadata else {}
    value = metadata.get(names.TRACEPARENT)
    return value if isinstance(value, str) else None
