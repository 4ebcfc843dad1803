"""The registry: one class per event type, and an error that names the type where there is none or another."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, NewType
from uuid import UUID

import pytest
from pydantic import UUID4, BaseModel, Field, PastDatetime, PositiveInt

from eventsource_app.events import (
    DomainEvent,
    DuplicateEventTypeError,
    EventRegistry,
    InvalidEventTypeError,
    UnknownEventTypeError,
    register_event,
)


class Opened(DomainEvent):
    aggregate_type: str = "Door"


class Closed(DomainEvent):
    aggregate_type: str = "Door"
    schema_version: int = 3


class Impostor(DomainEvent):
    event_type: str = "Opened"
    aggregate_type: str = "Door"


def a_registry() -> EventRegistry:
    registry = EventRegistry()
    register_event(registry=registry)(Opened)
    return registry


def test_a_registered_class_is_found_by_its_type() -> None:
    registry = a_registry()
    assert registry.get("Opened") is Opened
    assert "Opened" in registry
    assert "Closed" not in registry
    assert list(registry) == ["Opened"]


def test_the_decorator_returns_the_class() -> None:
    assert register_event(registry=EventRegistry())(Opened) is Opened


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(UnknownEventTypeError, match="Event type 'Closed' is not registered") as caught:
        a_registry().get("Closed")
    assert caught.value.event_type == "Closed"


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"event_type": ""}, "event_type ''; it must have 1 to 200"),
        ({"event_type": "x" * 201}, "it must have 1 to 200"),
        ({"event_type": "Nul\0"}, "none of them NUL"),
        ({"schema_version": 0}, "schema_version 0; it must be a number from 1 to 32767"),
        ({"schema_version": 40_000}, "schema_version 40000; it must be a number from 1 to 32767"),
    ],
)
def test_what_the_log_cannot_keep_is_refused_with_the_class(declared: dict[str, Any], sentence: str) -> None:
    annotations = {name: type(value) for name, value in declared.items()}
    impossible = type(
        "Impossible", (Opened,), {**declared, "__annotations__": annotations, "__module__": __name__}
    )
    with pytest.raises(InvalidEventTypeError, match=sentence):
        EventRegistry().register(impossible)


class Person(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("field", "declared", "shown"),
    [
        ("actor_id", int | None, r"int \| None, and the log keeps a str there"),
        ("actor_id", Annotated[int, Field(ge=1)] | None, "int.*, and the log keeps a str there"),
        ("actor_id", Person | None, r"Person \| None, and the log keeps a str there"),
        ("actor_id", list[str], "list.*, and the log keeps a str there"),
        ("correlation_id", UUID | None, r"UUID \| None, and the log keeps a str there"),
        ("causation_id", str | None, r"str \| None, and the log keeps a UUID there"),
        ("event_id", str, "str, and the log keeps a UUID there"),
        ("occurred_at", date, "date, and the log keeps a datetime there"),
        ("aggregate_version", Literal["1"], "Literal.*, and the log keeps a int there"),
    ],
)
def test_an_envelope_field_of_another_type_is_refused_with_the_class(
    field: str, declared: Any, shown: str
) -> None:
    impossible = type("Impossible", (Closed,), {"__annotations__": {field: declared}, "__module__": __name__})
    with pytest.raises(InvalidEventTypeError, match=rf"\.Impossible declares {field} as .*{shown}"):
        EventRegistry().register(impossible)


Actor = NewType("Actor", str)


class Door(StrEnum):
    FRONT = "front"


class Narrowed(DomainEvent):
    """Each says more of what the envelope keeps, and nothing else."""

    aggregate_type: Literal["Door"] = "Door"
    aggregate_id: UUID4
    aggregate_version: PositiveInt
    occurred_at: PastDatetime
    correlation_id: Door | None = None
    actor_id: Actor | Annotated[str, Field(pattern="^robot-")]
    causation_id: UUID
    metadata: Person  # type: ignore[assignment]


class Constant(DomainEvent):
    aggregate_type: ClassVar[str] = "Door"  # type: ignore[misc]


@pytest.mark.parametrize("event_class", [Narrowed, Constant])
def test_an_envelope_field_may_be_narrowed(event_class: type[DomainEvent]) -> None:
    assert EventRegistry().register(event_class) is event_class


def test_a_type_that_is_taken_is_named_with_both_classes() -> None:
    registry = a_registry()
    with pytest.raises(
        DuplicateEventTypeError, match=r"'Opened' is already registered by .*\.Opened, so .*\.Impostor"
    ) as caught:
        registry.register(Impostor)
    assert (caught.value.registered, caught.value.refused) == (Opened, Impostor)
    assert registry.get("Opened") is Opened


def test_registering_a_class_twice_is_harmless() -> None:
    registry = a_registry()
    assert registry.register(Opened) is Opened


def test_the_schema_versions_of_one_aggregate() -> None:
    registry = a_registry()
    registry.register(Closed)
    assert registry.schema_versions("Door") == {"Closed": 3, "Opened": 1}
    assert registry.schema_versions("Window") == {}


def test_an_event_without_an_aggregate_type_counts_for_all_of_them() -> None:
    registry = a_registry()

    @register_event(registry=registry)
    class Seen(DomainEvent):
        schema_version: int = 2

    assert registry.schema_versions("Door") == {"Opened": 1, "Seen": 2}
    assert registry.schema_versions("Window") == {"Seen": 2}


def test_every_registration_makes_another_edition() -> None:
    registry = a_registry()
    edition = registry.edition
    assert registry.edition is edition
    registry.register(Closed)
    assert registry.edition is not edition


def test_a_class_that_is_completed_after_its_registration_reads_its_events() -> None:
    mine = EventRegistry()

    @register_event(registry=mine)
    class SomethingFound(DomainEvent):
        aggregate_type: str = "Thing"
        inside: "Found"

    class Found(BaseModel):
        depth: int

    assert not SomethingFound.__pydantic_complete__
    SomethingFound.model_rebuild(_types_namespace={"Found": Found})
    version, validate_json, _ = mine.reader("SomethingFound")
    event = validate_json(
        '{"aggregate_id": "00000000-0000-0000-0000-000000000001", "aggregate_version": 1, "inside": {"depth": 3}}'
    )
    assert (version, event.inside.depth) == (1, 3)


def test_a_class_that_is_registered_again_is_the_one_that_reads() -> None:
    mine = EventRegistry()

    def declare(version: int) -> type[DomainEvent]:
        class ThingHappened(DomainEvent):
            aggregate_type: str = "Thing"
            schema_version: int = version

        ThingHappened.__module__, ThingHappened.__qualname__ = "__main__", "ThingHappened"
        return mine.register(ThingHappened)

    declare(1)
    assert mine.reader("ThingHappened")[0] == 1
    declare(2)
    assert mine.reader("ThingHappened")[0] == 2
