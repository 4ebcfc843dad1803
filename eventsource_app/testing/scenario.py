"""Given events, when a command, then events: the rules of an aggregate as sentences, without a database.

AggregateScenario(OrderAggregate)
    .given(happened(OrderCreated, customer_id="c-1", total="10.00"))
    .when(lambda order: order.ship("T-1"))
    .then(happened(OrderShipped, tracking_number="T-1"))
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from eventsource_app.aggregates import AggregateRoot
from eventsource_app.events import DomainEvent
from eventsource_app.events.identifiers import uuid7

Aggregate = TypeVar("Aggregate", bound=AggregateRoot)  # type: ignore[type-arg]

# Who, when and in which request: no part of what a rule decides.
NOT_COMPARED = frozenset({"event_id", "occurred_at", "correlation_id", "causation_id", "actor_id"})


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of the scenario's aggregate, less what the scenario knows itself: its ids and its version."""

    event_class: type[DomainEvent]
    fields: Mapping[str, Any]

    def at(self, aggregate_type: str, aggregate_id: UUID, version: int) -> DomainEvent:
        """Return the event as the one at ``version`` of that aggregate."""
        place = {"aggregate_type": aggregate_type, "aggregate_id": aggregate_id, "aggregate_version": version}
        return self.event_class.model_validate({**place, **self.fields}, by_name=True)


def happened(event_class: type[DomainEvent], **fields: Any) -> Happened:
    """Describe an event by its class and payload, e.g. ``happened(OrderShipped, tracking_number="T-1")``."""
    return Happened(event_class, fields)


class AggregateScenario(Generic[Aggregate]):
    """One aggregate and what is expected of it; each method returns the scenario, so that they chain.

    Events are given as ``happened(...)`` or whole. They are compared without ids of events and requests, and without times.
    """

    def __init__(self, factory: Callable[[UUID], Aggregate], aggregate_id: UUID | None = None) -> None:
        self.aggregate = factory(aggregate_id or uuid7())
        self._error: Exception | None = None
        self._has_run = False

    def given(self, *events: DomainEvent | Happened) -> Self:
        """Let these events have happened, in this order."""
        self.aggregate.load_from_history(self._placed(events, self.aggregate.version))
        return self

    def when(self, command: Callable[[Aggregate], object]) -> Self:
        """Run a command; what it raises is kept for ``then_raises``. A second ``when`` goes on from the first."""
        self._raise_unexpected()
        self._has_run = True
        try:
            command(self.aggregate)
        except Exception as error:
            self._error = error
        return self

    def then(self, *events: DomainEvent | Happened) -> Self:
        """Expect just these events to have been decided, in this order; none given: nothing was decided."""
        self._check_has_run()
        self._raise_unexpected()
        decided = self.aggregate.uncommitted_events
        before = self.aggregate.version - len(decided)
        expected = [_comparable(event) for event in self._placed(events, before)]
        if (actual := [_comparable(event) for event in decided]) != expected:
            raise AssertionError(f"Expected {_listing(expected)}\nbut decided {_listing(actual)}")
        return self

    def then_raises(self, error_class: type[Exception], match: str = "") -> Self:
        """Expect the command to have been refused with this error, its text found by ``match``, and nothing decided."""
        self._check_has_run()
        error, self._error = self._error, None
        decided = [_comparable(event) for event in self.aggregate.uncommitted_events]
        if error is None:
            raise AssertionError(
                f"Expected {error_class.__name__}, but the command decided {_listing(decided)}"
            )
        if not isinstance(error, error_class):
            raise AssertionError(f"Expected {error_class.__name__}, but it raised {error!r}") from error
        if not re.search(match, str(error)):
            raise AssertionError(
                f"Expected a sentence matching {match!r}, but it says {str(error)!r}"
            ) from error
        if decided:
            raise AssertionError(
                f"It raised {error!r}, but only after it had decided {_listing(decided)}"
            ) from error
        return self

    def then_state(self, **fields: Any) -> Self:
        """Expect these values in the aggregate's state."""
        self._raise_unexpected()
        actual = {name: getattr(self.aggregate.state, name) for name in fields}
        if actual != fields:
            raise AssertionError(f"Expected the state to have {fields!r}, but it has {actual!r}")
        return self

    def _placed(self, events: tuple[DomainEvent | Happened, ...], version: int) -> list[DomainEvent]:
        aggregate = self.aggregate
        return [
            event.at(aggregate.aggregate_type, aggregate.aggregate_id, number)
            if isinstance(event, Happened)
            else event
            for number, event in enumerate(events, start=version + 1)
        ]

    def _check_has_run(self) -> None:
        if not self._has_run:
            raise AssertionError("No command has run yet; call .when(command) first.")

    def _raise_unexpected(self) -> None:
        if self._error is not None:
            raise self._error


def _comparable(event: DomainEvent) -> dict[str, Any]:
    return {name: value for name, value in event if name not in NOT_COMPARED}


def _listing(events: list[dict[str, Any]]) -> str:
    return "".join(f"\n  {event['event_type']} {event!r}" for event in events) or "nothing"
