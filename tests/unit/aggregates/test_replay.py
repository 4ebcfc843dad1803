"""What a version changed: leaves of the state by their paths, and classes by their aggregate type."""

from uuid import uuid4

import pytest

from eventsource_app.aggregates import DuplicateAggregateTypeError, register_aggregate
from eventsource_app.aggregates.registry import registered_aggregate
from eventsource_app.aggregates.replay import Change, difference, states
from eventsource_app.store import StreamId
from orders.aggregate import OrderAggregate
from tests.builders import Account


def test_only_what_differs_is_a_change() -> None:
    before = {"status": "created", "total": "5", "gone": 1, "lines": {"a": 1, "b": 2}}
    after = {"status": "shipped", "total": "5", "lines": {"a": 1, "b": 3}, "new": [1]}
    assert difference(before, after) == (
        Change("status", "created", "shipped"),
        Change("lines.b", 2, 3),
        Change("new", None, [1]),
        Change("gone", 1, None),
    )


def test_equal_states_have_no_changes() -> None:
    assert difference({"a": {"b": None}}, {"a": {"b": None}}) == ()
    assert difference(None, None) == ()


def test_a_state_that_is_no_mapping_is_one_leaf() -> None:
    assert difference(1, 2) == (Change("state", 1, 2),)


def test_a_registered_class_is_found_again_and_keeps_its_type() -> None:
    assert registered_aggregate("Order") is OrderAggregate
    assert register_aggregate(OrderAggregate) is OrderAggregate

    class Other(Account):
        aggregate_type = "Order"

    with pytest.raises(DuplicateAggregateTypeError, match="needs another aggregate_type"):
        register_aggregate(Other)
    assert registered_aggregate("Order") is OrderAggregate


def test_without_a_class_there_is_a_sentence() -> None:
    told = states(StreamId("Nothing", uuid4()), 1, 1)
    assert told.by_version == {}
    assert "decorate it with @register_aggregate" in told.problem
