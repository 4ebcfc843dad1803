"""The registry: one class per event type, and an error that names the type where there is none or another."""

import pytest

from eventsource_app.events import (
    DomainEvent,
    DuplicateEventTypeError,
    EventRegistry,
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
