"""An event as the store gives it back: with its position and the time it was recorded."""

from datetime import datetime
from typing import Final
from uuid import UUID

from eventsource_app.events.event import DomainEvent
from eventsource_app.events.registry import EventRegistry, default_registry
from eventsource_app.events.serialization import StoredEvent, decode, stream_fields
from eventsource_app.store.session import Row

# In UTC whatever the session's zone: there 1870 may lie seconds off the minute, and year 1 before Christ. No zone is looked up.
_UTC: Final = "to_json({0} AT TIME ZONE INTERVAL '0')"
# For a ``TextCursor``: what is only handed on to the decoder stays text.
COLUMNS_OF_STREAM: Final = (
    f"event_id, event_type, schema_version, aggregate_version, {_UTC.format('occurred_at')}, correlation_id, causation_id, "
    "actor_id, metadata, data, position"
)
COLUMNS: Final = f"{COLUMNS_OF_STREAM}, aggregate_type, aggregate_id, {_UTC.format('recorded_at')}"


class RecordedEvent:
    """One stored event. ``event`` is decoded on first use, so an unreadable one is an error of that event alone.

    ``position`` is its place in the whole log, ``recorded_at`` the database's clock when it was stored.
    ``event`` raises ``UnknownEventTypeError``, ``NewerSchemaVersionError``, ``UpcasterGapError`` or ``UnreadableEventError``.
    """

    __slots__ = ("_event", "_recorded_at", "_registry", "_stored", "position")

    def __init__(self, position: int, event: DomainEvent, recorded_at: datetime) -> None:
        self.position = position
        self._event: DomainEvent | None = event
        self._recorded_at: datetime | None = recorded_at
        self._stored: StoredEvent | None = None
        self._registry = default_registry

    @classmethod
    def from_row(cls, row: Row, registry: EventRegistry) -> "RecordedEvent":
        """Make one of a row of ``COLUMNS``."""
        recorded = cls.__new__(cls)
        recorded._stored = _new_tuple(StoredEvent, row)  # _make, without its check of the length
        recorded.position = row[10]
        recorded._registry = registry
        recorded._event = recorded._recorded_at = None
        return recorded

    @property
    def event(self) -> DomainEvent:
        if self._event is None:
            assert self._stored is not None  # noqa: S101 - one of the two is always there
            shared = stream_fields(self._stored.aggregate_type, self._stored.aggregate_id)
            self._event = decode(self._stored, shared, self._registry)
        return self._event

    @property
    def recorded_at(self) -> datetime:
        if self._recorded_at is None:
            assert self._stored is not None  # noqa: S101 - one of the two is always there
            self._recorded_at = datetime.fromisoformat(f"{self._stored.recorded_at[1:-1]}Z")
        return self._recorded_at

    @property
    def envelope(self) -> "StoredEvent | DomainEvent":
        """What is known without decoding: ids, types, versions (as text in a stored row)."""
        return self._stored or self.event

    @property
    def event_id(self) -> UUID:
        return _uuid(self.envelope.event_id)

    @property
    def event_type(self) -> str:
        return (self._stored or self.event).event_type

    @property
    def aggregate_type(self) -> str:
        return self.envelope.aggregate_type

    @property
    def aggregate_id(self) -> UUID:
        return _uuid(self.envelope.aggregate_id)

    @property
    def aggregate_version(self) -> int:
        return self.envelope.aggregate_version

    @property
    def correlation_id(self) -> str | None:
        return (self._stored or self.event).correlation_id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedEvent):
            return NotImplemented
        return (self.position, self.recorded_at, self.event) == (
            other.position,
            other.recorded_at,
            other.event,
        )

    def __hash__(self) -> int:
        return hash((self.position, self.event_id))

    def __repr__(self) -> str:
        return f"<RecordedEvent {self.event_type} v{self.aggregate_version} of {self.aggregate_id} at {self.position}>"


_new_tuple = tuple.__new__


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
