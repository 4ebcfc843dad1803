"""Old schema versions are lifted step by step; where a step is missing the error names it."""

from typing import Any, cast

import pytest

from eventsource_app.events import (
    DuplicateUpcasterError,
    EventRegistry,
    NewerSchemaVersionError,
    UpcasterGapError,
    upcaster,
)

Payload = dict[str, Any]


def a_registry(*versions: int) -> EventRegistry:
    """Upcasters of "Opened" from these versions; each notes that it ran."""
    registry = EventRegistry()
    for version in versions:

        def step(payload: Payload, version: int = version) -> Payload:
            return {**payload, "steps": [*payload.get("steps", []), version]}

        upcaster("Opened", from_version=version, registry=registry)(step)
    return registry


@pytest.mark.parametrize(("stored", "steps"), [(1, [1, 2, 3]), (2, [2, 3]), (3, [3])])
def test_a_chain_runs_from_the_stored_version_up(stored: int, steps: list[int]) -> None:
    registry = a_registry(3, 1, 2)
    assert registry.upcasters.apply("Opened", {"by": "Ada"}, stored, 4) == {"by": "Ada", "steps": steps}


def test_the_present_version_is_left_alone() -> None:
    payload: Payload = {"by": "Ada"}
    assert a_registry(1, 2).upcasters.apply("Opened", payload, 3, 3) is payload


@pytest.mark.parametrize(("there", "missing"), [((1, 3), 2), ((2, 3), 1), ((1, 2), 3), ((), 1)])
def test_a_gap_is_named(there: tuple[int, ...], missing: int) -> None:
    with pytest.raises(
        UpcasterGapError, match=f"'Opened' has no upcaster from schema version {missing}"
    ) as caught:
        a_registry(*there).upcasters.apply("Opened", {}, 1, 4)
    assert (caught.value.event_type, caught.value.missing, caught.value.wanted) == ("Opened", missing, 4)


def test_an_upcaster_of_another_type_fills_no_gap() -> None:
    with pytest.raises(UpcasterGapError, match="'Closed'"):
        a_registry(1).upcasters.apply("Closed", {}, 1, 2)


def test_what_newer_code_wrote_is_named() -> None:
    with pytest.raises(
        NewerSchemaVersionError, match="'Opened' was stored with schema version 5, but this code knows 4"
    ):
        a_registry(1, 2, 3).upcasters.apply("Opened", {}, 5, 4)


def test_two_upcasters_of_one_step_are_refused() -> None:
    with pytest.raises(
        DuplicateUpcasterError, match="'Opened' already has an upcaster from schema version 2"
    ):
        upcaster("Opened", from_version=2, registry=a_registry(1, 2))(lambda payload: payload)


@pytest.mark.parametrize("following", [(), (2,)])
@pytest.mark.parametrize("returned", [None, [1], "text"])
def test_one_that_returns_no_payload_is_named(returned: object, following: tuple[int, ...]) -> None:
    registry = a_registry(*following)
    upcaster("Opened", from_version=1, registry=registry)(lambda _: cast("Payload", returned))
    with pytest.raises(TypeError, match=r"from schema version 1 it returned a \w+, not a dict"):
        registry.upcasters.apply("Opened", {"by": "Ada"}, 1, 2 + len(following))


def test_version_0_is_refused() -> None:
    with pytest.raises(
        ValueError, match="Schema versions start at 1, so from_version=0 of 'Opened' cannot be"
    ):
        upcaster("Opened", from_version=0, registry=EventRegistry())(lambda payload: payload)
