"""One line of an exported log, checked before anything of it reaches the database."""

import re
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from eventsource_app.events.event import ENVELOPE, MAX_SCHEMA_VERSION, MAX_VERSION, Name, UtcDatetime
from eventsource_app.exceptions import EventSourceError

FULL_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})", re.ASCII)


def _full_time(value: object) -> object:
    """Refuse what means something else to somebody: 20260101 is a second of 1970 here and a day in some zone to PostgreSQL."""
    if isinstance(value, str) and FULL_TIME.fullmatch(value):
        return value
    raise PydanticCustomError(
        "full_time", "Input should be a full time with its zone, as 2026-01-31T22:59:59.9Z"
    )


def _without_envelope(payload: dict[str, Any]) -> dict[str, Any]:
    """Refuse fields that are columns: no append writes them into a payload, and no reader would see them."""
    if not ENVELOPE.isdisjoint(payload):
        names = ", ".join(sorted(ENVELOPE & payload.keys()))
        raise PydanticCustomError(
            "envelope", "The payload has the envelope's fields {names}", {"names": names}
        )
    return payload


FullTime = Annotated[UtcDatetime, BeforeValidator(_full_time)]


class ImportRefusedError(EventSourceError):
    """A log that must not be imported; ``line_number`` is None where no single line is to blame."""

    def __init__(self, reason: str, line_number: int | None = None) -> None:
        super().__init__(reason if line_number is None else f"Line {line_number}: {reason}")
        self.line_number = line_number


class ExportedEvent(BaseModel):
    """The shape of a line; payload and metadata are only looked at, the database reads them from the text itself.

    Position 1 is never used: on a fresh sequence nobody could tell whether it is handed out.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    position: int = Field(ge=2, lt=2**47, strict=True)
    event_id: UUID
    event_type: Name
    schema_version: int = Field(ge=1, le=MAX_SCHEMA_VERSION, strict=True)
    aggregate_type: Name
    aggregate_id: UUID
    aggregate_version: int = Field(ge=1, le=MAX_VERSION, strict=True)
    slot: int
    occurred_at: FullTime
    recorded_at: FullTime
    correlation_id: Name | None
    causation_id: UUID | None
    actor_id: Name | None
    metadata: dict[str, Any]
    data: Annotated[dict[str, Any], AfterValidator(_without_envelope)]


def check_line(number: int, line: bytes, after: int) -> int:
    """Return the line's position, which must lie above ``after``; raises ``ImportRefusedError``."""
    try:
        position = ExportedEvent.model_validate_json(line).position
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise ImportRefusedError(f"{place}: {first['msg']}; export the log again.", number) from error
    if position <= after:
        raise ImportRefusedError(
            f"position {position} does not lie above the line before it ({after}); export the log again.",
            number,
        )
    return position
