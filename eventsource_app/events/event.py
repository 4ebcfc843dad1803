"""The event: a fact that happened to one aggregate, frozen and validated."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from eventsource_app.events.identifiers import new_id

MAX_VERSION = 2**31 - 1
MAX_NAME_LENGTH = 200
MAX_SCHEMA_VERSION = 2**15 - 1


def _now() -> datetime:
    return datetime.now(UTC)


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo == UTC:  # as every stored one is; pydantic has a class of its own for it, slow to convert
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{value.isoformat()} lies outside the calendar's years 1 to 9999 in UTC") from error


def _event_id() -> UUID:
    return new_id("event")


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)]
Identifier = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), BeforeValidator(_as_text)]


def is_storable_name(text: object) -> bool:
    """Say whether the log can keep a name: the bounds of ``Name``, and no NUL."""
    return isinstance(text, str) and 1 <= len(text) <= MAX_NAME_LENGTH and "\0" not in text


class DomainEvent(BaseModel):
    """Base of all events: subclass it, add the payload's fields, and register it.

    ``event_type`` is the class's name unless the class says otherwise. ``aggregate_version`` counts from 1
    within its stream. ``occurred_at`` is when it happened (aware; kept in UTC), ``correlation_id`` names
    the request that everything belongs to, ``causation_id`` the event that caused this one, ``actor_id`` who did it.

    Raises ``pydantic.ValidationError`` for unknown fields, times without a zone, NaN and infinity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    event_id: UUID = Field(default_factory=_event_id)
    event_type: Name = ""
    schema_version: int = Field(default=1, ge=1, le=MAX_SCHEMA_VERSION)
    occurred_at: UtcDatetime = Field(default_factory=_now)
    aggregate_id: UUID
    aggregate_type: Name
    aggregate_version: int = Field(ge=1, le=MAX_VERSION)
    correlation_id: Identifier | None = None
    causation_id: UUID | None = None
    actor_id: Identifier | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "event_type" not in cls.__dict__:
            cls.__annotations__ = {**cls.__dict__.get("__annotations__", {}), "event_type": Name}
            cls.event_type = cls.__name__

    @classmethod
    def declared(cls, field: str) -> Any:
        """Return the value that the class declares for an envelope field, e.g. ``declared("event_type")``."""
        return cls.model_fields[field].default


ENVELOPE = frozenset(DomainEvent.model_fields)
