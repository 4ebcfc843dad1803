"""Upcasters: what turns the payload of an old schema version into the next one's, one step each."""

from collections.abc import Callable
from typing import Any

from eventsource_app.exceptions import EventSourceError

Payload = dict[str, Any]
Upcast = Callable[[Payload], Payload]


class UpcasterGapError(EventSourceError):
    """A stored schema version has no way up to the one that the code declares."""

    def __init__(self, event_type: str, missing: int, wanted: int) -> None:
        super().__init__(
            f"Event type {event_type!r} has no upcaster from schema version {missing} (the code wants {wanted}); "
            f"register one with @upcaster({event_type!r}, from_version={missing})."
        )
        self.event_type, self.missing, self.wanted = event_type, missing, wanted


class NewerSchemaVersionError(EventSourceError):
    """An event was written by newer code; a rollout may bring that code here."""

    def __init__(self, event_type: str, stored: int, known: int) -> None:
        super().__init__(
            f"Event type {event_type!r} was stored with schema version {stored}, but this code knows {known} at most; "
            "deploy the code that wrote it."
        )
        self.event_type, self.stored, self.known = event_type, stored, known


class DuplicateUpcasterError(EventSourceError):
    """Two upcasters start from the same version of one event type."""

    def __init__(self, event_type: str, from_version: int) -> None:
        super().__init__(
            f"Event type {event_type!r} already has an upcaster from schema version {from_version}; remove one of the two."
        )
        self.event_type, self.from_version = event_type, from_version


class UpcasterChain:
    """The upcasters of all event types, each from version n to n + 1."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], Upcast] = {}

    def add(self, event_type: str, from_version: int, upcast: Upcast) -> None:
        if from_version < 1:
            raise ValueError(
                f"Schema versions start at 1, so from_version={from_version} of {event_type!r} cannot be."
            )
        if self._steps.setdefault((event_type, from_version), upcast) is not upcast:
            raise DuplicateUpcasterError(event_type, from_version)

    def apply(self, event_type: str, payload: Payload, stored: int, wanted: int) -> Payload:
        """Lift ``payload`` from schema version ``stored`` to ``wanted``; raises when a step is missing."""
        if stored > wanted:
            raise NewerSchemaVersionError(event_type, stored, wanted)
        for version in range(stored, wanted):
            step = self._steps.get((event_type, version))
            if step is None:
                raise UpcasterGapError(event_type, version, wanted)
            lifted: object = step(payload)
            if not isinstance(lifted, dict):  # a return that was forgotten
                kind = type(lifted).__name__  # no more of it: payloads stay out of logs
                raise TypeError(f"from schema version {version} it returned a {kind}, not a dict")
            payload = lifted
        return payload
