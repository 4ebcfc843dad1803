"""One line of an exported log, checked before anything of it reaches the database."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from eventsource_app.events.event import MAX_NAME_LENGTH, MAX_VERSION
from eventsource_app.exceptions import EventSourceError

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]


class ImportRefusedError(EventSourceError):
    """A log that must not be imported; ``line_number`` is None where no single line is to blame."""

    def __init__(self, reason: str, line_number: int | None = None) -> None:
        super().__init__(reason if line_number is None else f"Line {line_number}: {reason}")
        self.line_number = line_number


class ExportedEvent(BaseModel):
    """The shape of a line; payload and metadata are only looked at, the database reads them from the text itself."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    position: int = Field(ge=1, lt=2**47, strict=True)
    event_id: UUID
    event_type: Name
    schema_version: int = Field(ge=1, le=32767, strict=True)
    aggregate_type: Name
    aggregate_id: UUID
    aggregate_version: int = Field(ge=1, le=MAX_VERSION, strict=True)
    slot: int
    occurred_at: AwareDatetime
    recorded_at: AwareDatetime
    correlation_id: Name | None
    causation_id: UUID | None
    actor_id: Name | None
    metadata: dict[str, Any]
    data: dict[str, Any]


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
