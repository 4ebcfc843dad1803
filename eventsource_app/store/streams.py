"""Which stream, and where a writer believes it is."""

from dataclasses import dataclass, field
from typing import ClassVar, Self
from uuid import UUID

from eventsource_app.exceptions import EventSourceError


@dataclass(frozen=True, slots=True)
class StreamId:
    """The events of one aggregate: its type and its id."""

    aggregate_type: str
    aggregate_id: UUID

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id}"

    def no_uuid(self) -> str:
        """Return the sentence for an id that is none."""
        kind = type(self.aggregate_id).__name__
        return f"The aggregate id of stream {self} is a {kind}; it must be a UUID."


@dataclass(frozen=True, slots=True)
class ExpectedVersion:
    """Where a writer expects a stream to be: ``exact(n)``, ``NO_STREAM``, ``STREAM_EXISTS`` or ``ANY``."""

    value: int

    NO_STREAM: ClassVar[Self]
    STREAM_EXISTS: ClassVar[Self]
    ANY: ClassVar[Self]

    @classmethod
    def exact(cls, version: int) -> Self:
        """Return "at this version and no other"; version 0 is the same as ``NO_STREAM``."""
        if version < 0:
            raise ValueError(f"A stream's version is 0 or more, so exact({version}) can never be met.")
        return cls(version)

    @property
    def is_exact(self) -> bool:
        """Say whether the first new event's version follows from this (``exact`` and ``NO_STREAM``)."""
        return self.value >= 0

    def __str__(self) -> str:
        names = {0: "no stream", -1: "any version", -2: "an existing stream"}
        return names.get(self.value, f"version {self.value}")


ExpectedVersion.NO_STREAM = ExpectedVersion(0)
ExpectedVersion.ANY = ExpectedVersion(-1)
ExpectedVersion.STREAM_EXISTS = ExpectedVersion(-2)


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What an append left: the stream's version and the global position of its last event.

    ``repeated`` says that these very events stood there already, so nothing was stored this time.
    """

    version: int
    position: int
    repeated: bool = field(default=False, compare=False)


class WrongExpectedVersionError(EventSourceError):
    """A lost race: the stream is not where the writer expected it."""

    def __init__(self, stream: StreamId, expected: ExpectedVersion, actual: int) -> None:
        there = f"version {actual}" if actual else "no such stream"
        super().__init__(
            f"Stream {stream} was expected at {expected}, but there is {there}; load it again and decide anew."
        )
        self.stream, self.expected, self.actual = stream, expected, actual


class DuplicateEventError(EventSourceError):
    """An event id that is stored already, with other content or at another place."""

    def __init__(self, event_id: UUID, stream: StreamId) -> None:
        super().__init__(
            f"Event id {event_id} is already stored with other content or at another place, "
            f"so it cannot be appended to stream {stream}; give every event an id of its own."
        )
        self.event_id, self.stream = event_id, stream
