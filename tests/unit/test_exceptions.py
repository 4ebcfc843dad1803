"""Errors cross to another process (a pool's worker, a parallel test run) with their sentence and their values."""

import pickle
from uuid import UUID

import pytest

from eventsource_app.aggregates import AggregateNotFoundError
from eventsource_app.events import (
    InvalidEventError,
    NewerSchemaVersionError,
    UnreadableEventError,
    UpcasterGapError,
)
from eventsource_app.exceptions import EventSourceError


@pytest.mark.parametrize(
    "error",
    [
        AggregateNotFoundError("Account", UUID(int=7)),
        NewerSchemaVersionError("Opened", 3, 2),
        UpcasterGapError("Opened", 1, 3),
        UnreadableEventError("Opened", "an id", "a reason"),
        InvalidEventError("A sentence."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_they_arrive_as_they_were(error: EventSourceError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
