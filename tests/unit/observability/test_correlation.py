"""observability.correlation: one id per block, restored afterwards, and on every log record."""

import logging
from uuid import UUID

import pytest

from eventsource_app.observability.correlation import (
    CorrelationFilter,
    caused_by,
    correlation,
    current_causation_id,
    current_correlation_id,
    is_valid_correlation_id,
)


def test_blocks_nest_and_restore() -> None:
    assert current_correlation_id() is None
    with correlation("outer"):
        with correlation("inner"):
            assert current_correlation_id() == "inner"
        assert current_correlation_id() == "outer"
    assert current_correlation_id() is None


def test_what_an_event_causes_carries_its_ids() -> None:
    event_id = UUID(int=1)
    with correlation("outer"):
        with caused_by(event_id, "of-the-event"):
            assert (current_correlation_id(), current_causation_id()) == ("of-the-event", event_id)
        assert (current_correlation_id(), current_causation_id()) == ("outer", None)


def test_an_error_in_the_block_restores_too() -> None:
    with pytest.raises(RuntimeError), correlation("x"):
        raise RuntimeError
    assert current_correlation_id() is None


@pytest.mark.parametrize("value", ["a", "A-b_c.9", "x" * 64])
def test_valid_ids(value: str) -> None:
    assert is_valid_correlation_id(value)


@pytest.mark.parametrize("value", ["", "x" * 65, "a b", "a\n", "ä", 'a"b'])
def test_ids_that_could_forge_something_are_refused(value: str) -> None:
    assert not is_valid_correlation_id(value)
    with pytest.raises(ValueError, match="is no correlation id"), correlation(value):
        pass


def test_the_filter_adds_the_id_but_never_replaces_one() -> None:
    own = logging.makeLogRecord({"correlation_id": "own"})
    plain = logging.makeLogRecord({})
    with correlation("current"):
        assert CorrelationFilter().filter(own)
        assert CorrelationFilter().filter(plain)

    assert own.__dict__["correlation_id"] == "own"
    assert plain.__dict__["correlation_id"] == "current"
