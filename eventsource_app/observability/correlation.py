"""The correlation id: one value that follows a request through logs, events and projections."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from uuid import UUID

VALID = re.compile(r"[A-Za-z0-9._-]{1,64}")

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)


class Cause(Protocol):
    """A stored event in whose name something is done."""

    @property
    def event_id(self) -> UUID: ...

    @property
    def correlation_id(self) -> str | None: ...


actor_id: ContextVar[str | None] = ContextVar("actor_id", default=None)
_cause: ContextVar[Cause | UUID | None] = ContextVar("cause", default=None)


def is_valid_correlation_id(value: str) -> bool:
    """Say whether *value* may come from outside: nothing in it can forge a log line or a header."""
    return VALID.fullmatch(value) is not None


def current_correlation_id() -> str | None:
    """Return the id of what is being done now, or None outside any `correlation` block."""
    return correlation_id.get()


def current_actor_id() -> str | None:
    """Return who does what is being done now, or None where nobody has said."""
    return actor_id.get()


def act_as(name: str) -> None:
    """Say who does what follows, until the end of the `correlation` block: its events carry the name."""
    actor_id.set(name)


def current_causation_id() -> UUID | None:
    """Return the id of the event that is being handled now, or None outside any `caused_by` block."""
    cause = _cause.get()
    return cause if cause is None or isinstance(cause, UUID) else cause.event_id


@contextmanager
def correlation(value: str) -> Iterator[str]:
    """Make *value* the correlation id for the length of the block; blocks nest. Raises ValueError."""
    if not is_valid_correlation_id(value):
        raise ValueError(f"{value!r} is no correlation id: it must be 1 to 64 of A-Z a-z 0-9 . _ -")
    tokens = correlation_id.set(value), actor_id.set(actor_id.get())
    try:
        yield value
    finally:
        correlation_id.reset(tokens[0])
        actor_id.reset(tokens[1])


@contextmanager
def caused_by(event_id: UUID, event_correlation_id: str | None) -> Iterator[None]:
    """Do what is inside in the name of a stored event: what it appends carries its id as the causation id."""
    with caused_by_each():
        _cause.set(event_id)
        correlation_id.set(event_correlation_id)
        yield


@contextmanager
def caused_by_each() -> Iterator[Callable[[Cause], None]]:
    """Do many things in a row, each in the name of the event that the yielded function was last called with.

    One block for a whole batch: a block, and an id made of text, for each event would cost as much as its handler.
    """
    tokens = _cause.set(None), correlation_id.set(correlation_id.get())
    try:
        yield _begin
    finally:
        _cause.reset(tokens[0])
        correlation_id.reset(tokens[1])


def _begin(cause: Cause) -> None:
    _cause.set(cause)
    correlation_id.set(cause.correlation_id)


class CorrelationFilter(logging.Filter):
    """Adds correlation_id to every record that has none of its own; refuses no record."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Django logs an answer when it has left the request's block.
        request = getattr(record, "request", None)
        value = current_correlation_id() or getattr(request, "correlation_id", None)
        if value is not None and not hasattr(record, "correlation_id"):
            record.correlation_id = value
        return True
