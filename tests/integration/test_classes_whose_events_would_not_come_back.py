"""A class of which events would come back as others, or not at all, is refused at its first append."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import pytest
from pydantic import (
    BaseModel,
    Field,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)
from pydantic_core import core_schema

from eventsource_app.events import DomainEvent, EventRegistry, InvalidEventError
from eventsource_app.models import Event
from eventsource_app.store import EventStore, ExpectedVersion
from tests.builders import ACCOUNT, a_stream

pytestmark = pytest.mark.django_db(transaction=True)
STREAM = a_stream()


class MaskedHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    secret: SecretStr


class ExcludedHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    left_out: int = Field(default=0, exclude=True)


class KeyedHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    by_place: dict[tuple[int, int], str]


class OverloadedHappened(DomainEvent, serialize_by_alias=True):
    aggregate_type: str = ACCOUNT
    who: str = Field(default="nobody", serialization_alias="actor_id")


class EverythingWritten(DomainEvent):
    aggregate_type: str = ACCOUNT
    amount: int

    @model_serializer
    def write(self) -> dict[str, Any]:
        return dict(self)


class Inside(BaseModel):
    kept: int = 0
    left_out: int = Field(default=0, exclude=True)


class InsideHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    inner: list[Inside] = []


@dataclass
class Noted:
    left_out: Annotated[int, Field(exclude=True)] = 0
    within: "list[Noted]" = field(default_factory=list)


class NotedHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    noted: dict[str, Noted] | None = None


class Paid(BaseModel):
    amount: int = 0


class PaidByCard(Paid):
    last_digits: str = ""


@dataclass
class Sent:
    paid: Paid = field(default_factory=Paid)


@dataclass
class SentAbroad(Sent):
    country: str = ""


class PaidHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    paid: list[Paid] = []
    sent: dict[str, Sent] = {}


class BytesHappened(DomainEvent, ser_json_bytes="base64"):
    aggregate_type: str = ACCOUNT
    image: bytes


@pytest.mark.parametrize(
    ("event_class", "payload", "sentence"),
    [
        (
            InsideHappened,
            {"inner": [{"left_out": 3}]},
            r"Field 'inner\.left_out' .* excluded .* never come back",
        ),
        (InsideHappened, {}, r"Field 'inner\.left_out' .* excluded .* never come back"),
        (NotedHappened, {}, r"Field 'noted\.left_out' .* excluded .* never come back"),
        (BytesHappened, {"image": b"abc"}, "Field 'image' .* does not come back as it went in"),
        (PaidHappened, {"paid": [PaidByCard(last_digits="1234")]}, "Field 'paid' .* does not come back"),
        (PaidHappened, {"sent": {"a": SentAbroad(country="FR")}}, "Field 'sent' .* does not come back"),
        (PaidHappened, {"sent": {"a": Sent(PaidByCard())}}, "Field 'sent' .* does not come back"),
        (MaskedHappened, {"secret": "hush"}, "Field 'secret' .* never come back"),
        (OverloadedHappened, {"who": "Ada"}, "writes actor_id into its payload.* never come back"),
        (EverythingWritten, {"amount": 3}, "writes actor_id, aggregate_id, .* into its payload"),
        (ExcludedHappened, {"left_out": 3}, "Field 'left_out' .* never come back"),
        (KeyedHappened, {"by_place": {(1, 2): "a"}}, "by_place.* never come back"),
    ],
)
def test_a_class_whose_events_would_not_come_back_is_refused(
    event_class: type[DomainEvent], payload: dict[str, Any], sentence: str
) -> None:
    mine = EventRegistry()
    mine.register(event_class)
    event = event_class.model_validate(
        {"aggregate_id": STREAM.aggregate_id, "aggregate_version": 1, **payload}
    )
    for _ in range(2):
        with pytest.raises(InvalidEventError, match=sentence):
            EventStore(registry=mine).append(STREAM, [event], ExpectedVersion.NO_STREAM)
    assert Event.objects.count() == 0


class Opaque:
    """Has no ``__eq__``, so no two are equal."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(lambda opaque: opaque.text)
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(value), serialization=written
        )


class Told(BaseModel):
    told: int = Field(default=0, exclude=True)

    @model_serializer
    def write(self) -> dict[str, int]:
        return {"told": self.told}


class Sealed(BaseModel):
    """Written otherwise each time, as with a cipher."""

    text: str

    @field_serializer("text", when_used="json")
    def seal(self, text: str) -> str:
        return f"{uuid4()}:{text}"

    @field_validator("text")
    @classmethod
    def unseal(cls, text: str) -> str:
        return text.rpartition(":")[2]


class Words(RootModel[list[str]]):
    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.root)


class StrangeHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    words: Words = Words(["a", "b"])
    opaque: Opaque
    told: Told
    sealed: Sealed
    names: set[str]
    whatever: Any
    parts: "list[StrangeHappened]" = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def worked_out(self) -> str:
        return str(uuid4())


def test_a_class_is_not_refused_for_what_only_cannot_be_compared() -> None:
    mine = EventRegistry()
    mine.register(StrangeHappened)
    event = StrangeHappened(
        aggregate_id=STREAM.aggregate_id, aggregate_version=1, opaque=Opaque("a"), told=Told(told=3),
        sealed=Sealed(text="b"), names=set(map(str, range(100))), whatever=(Decimal("1.0"), 2, Paid(amount=3)),
    )  # fmt: skip
    EventStore(registry=mine).append(STREAM, [event], ExpectedVersion.NO_STREAM)
    [recorded] = EventStore(registry=mine).read_stream(STREAM)
    read = recorded.event
    assert isinstance(read, StrangeHappened)
    assert (read.opaque.text, read.told, read.sealed, read.names) == (
        "a",
        event.told,
        event.sealed,
        event.names,
    )


class Key(BaseModel):
    secret: SecretStr


class KeysHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    keys: list[Key] = []
    text: str = ""


class SaidHappened(DomainEvent):
    aggregate_type: str = ACCOUNT
    said: SecretStr
    stars: str = "*" * 10

    @field_serializer("said", when_used="json")
    def say(self, said: SecretStr) -> str:
        return said.get_secret_value()


def test_a_masked_secret_is_refused_wherever_it_is_and_whichever_event_has_it_first() -> None:
    mine = EventRegistry()
    mine.register(KeysHappened)
    store, place = EventStore(registry=mine), {"aggregate_id": STREAM.aggregate_id}
    store.append(
        STREAM, [KeysHappened(**place, aggregate_version=1, text="*" * 12)], ExpectedVersion.NO_STREAM
    )
    keyed = KeysHappened(**place, aggregate_version=2, keys=[Key(secret=SecretStr("hush"))])
    with pytest.raises(InvalidEventError, match=r"Field 'keys' .* is masked .* never come back"):
        store.append(STREAM, [keyed], ExpectedVersion.exact(1))
    assert Event.objects.count() == 1


def test_a_secret_that_its_serializer_writes_is_kept() -> None:
    mine = EventRegistry()
    mine.register(SaidHappened)
    event = SaidHappened(aggregate_id=STREAM.aggregate_id, aggregate_version=1, said=SecretStr("aloud"))
    EventStore(registry=mine).append(STREAM, [event], ExpectedVersion.NO_STREAM)
    assert [recorded.event for recorded in EventStore(registry=mine).read_stream(STREAM)] == [event]
