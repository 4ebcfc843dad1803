"""The gate: shut, it lets one at a time through; whoever gets a connection opens it."""

import logging
from contextlib import ExitStack

import pytest

from eventsource_app.http.outage import OutageGate


def test_open_it_lets_everybody_through() -> None:
    gate = OutageGate()
    with gate.passage() as one, gate.passage() as other:
        assert one
        assert other


def test_closed_it_lets_one_at_a_time_through() -> None:
    gate = OutageGate()
    gate.close()
    for _ in range(2):  # the next one has its turn when this one is done
        with gate.passage() as one, gate.passage() as other:
            assert one
            assert not other


def test_a_turn_that_ends_in_an_error_is_over_too() -> None:
    gate = OutageGate()
    gate.close()
    with pytest.raises(ZeroDivisionError), gate.passage():
        raise ZeroDivisionError
    with gate.passage() as again:
        assert again


def test_it_opens_for_all_and_says_each_change_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gate = OutageGate()
    gate.open()
    gate.close()
    gate.close()
    with ExitStack() as stack:
        assert stack.enter_context(gate.passage())
        gate.open()
        gate.open()
        assert stack.enter_context(gate.passage())
        assert stack.enter_context(gate.passage())
    assert [record.getMessage()[:14] for record in caplog.records] == ["Database away,", "Database back"]
