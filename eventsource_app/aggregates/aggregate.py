"""The aggregate: decides by its state, and its state is what its events made of it. Pure, no database."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Generic, TypeVar, cast, get_args, get_origin
from uuid import UUID

from eventsource_app.events.event import DomainEvent
from eventsource_app.events.serialization import InvalidEventError

State = TypeVar("State")


class AggregateRoot(ABC, Generic[State]):
    """Base of aggregates: give it ``aggregate_type``, ``_get_initial_state`` and ``_apply``, and methods that decide.

    ``_apply(event)`` assigns ``self._state``; it never refuses. A deciding method raises when the state forbids the
    command, and otherwise calls ``apply_event`` with what happened. ``schema_version`` counts changes of the
    state's own shape: an older snapshot is then ignored.
    """

    aggregate_type: ClassVar[str]
    schema_version: ClassVar[int] = 1

    def __init__(self, aggregate_id: UUID) -> None:
        self.aggregate_id = aggregate_id
        self._version = 0
        self._position = 0
        self._state: State | None = None
        self._uncommitted: list[DomainEvent] = []

    @abstractmethod
    def _get_initial_state(self) -> State:
        """Return the state before the first event."""

    @abstractmethod
    def _apply(self, event: DomainEvent) -> None:
        """Assign ``self._state`` from the present state and the event."""

    @property
    def version(self) -> int:
        """The version of the last applied event, stored or not; 0 before the first."""
        return self._version

    @property
    def position(self) -> int:
        """The global position of the last stored event; 0 before the first."""
        return self._position

    @property
    def state(self) -> State:
        if self._state is None:
            self._state = self._get_initial_state()
        return self._state

    @property
    def uncommitted_events(self) -> Sequence[DomainEvent]:
        """What was decided and not yet saved, in order."""
        return tuple(self._uncommitted)

    def get_next_version(self) -> int:
        """Return the version that the next event must carry."""
        return self._version + 1

    def apply_event(self, event: DomainEvent, is_new: bool = True) -> None:
        """Apply an event, and keep it for ``save`` when it is new; raises ``InvalidEventError`` for a foreign one."""
        self._check_belongs(event)
        if self._state is None:
            self._state = self._get_initial_state()
        self._apply(event)
        self._version = event.aggregate_version
        if is_new:
            self._uncommitted.append(event)

    def load_from_history(self, events: Iterable[DomainEvent]) -> None:
        """Apply stored events in order."""
        for event in events:
            self.apply_event(event, is_new=False)

    def restore(self, state: State, version: int, position: int) -> None:
        """Take over a snapshot's state."""
        self._state, self._version, self._position = state, version, position

    def mark_stored(self, position: int) -> None:
        """Note that all decided events are stored up to this position."""
        self._uncommitted.clear()
        self._position = position

    def replace_uncommitted(self, events: Sequence[DomainEvent]) -> None:
        """Swap the decided events for copies that carry more context (correlation, causation)."""
        self._uncommitted = list(events)

    def _check_belongs(self, event: DomainEvent) -> None:
        # Compared as numbers, since UUID's own comparison is a call, and this runs for every event that is replayed.
        if event.aggregate_id.int != self.aggregate_id.int or event.aggregate_type != self.aggregate_type:
            raise InvalidEventError(
                f"Event {event.event_type!r} names {event.aggregate_type} {event.aggregate_id}, "
                f"so it cannot be applied to {self.aggregate_type} {self.aggregate_id}."
            )
        if event.aggregate_version != self._version + 1:
            raise InvalidEventError(
                f"Event {event.event_type!r} has aggregate_version {event.aggregate_version}, but {self.aggregate_type} "
                f"{self.aggregate_id} is at version {self._version}; use get_next_version()."
            )


def state_type_of(aggregate_class: type[AggregateRoot[State]]) -> type[State]:
    """Return the ``State`` in ``class Order(AggregateRoot[State])``; raises ``TypeError`` where none is given."""
    state = _state_argument(aggregate_class)
    if state is None or isinstance(state, TypeVar):
        raise TypeError(
            f"{aggregate_class.__name__} must say its state: class {aggregate_class.__name__}(AggregateRoot[State])."
        )
    return cast("type[State]", state)


def _state_argument(aggregate_class: type) -> object:
    """Follow the bases that are aggregates up to ``AggregateRoot[…]``: others may have type arguments of their own."""
    found: object = None
    for base in aggregate_class.__dict__.get("__orig_bases__", aggregate_class.__bases__):
        origin, arguments = get_origin(base) or base, get_args(base)
        if not (isinstance(origin, type) and issubclass(origin, AggregateRoot)):
            continue
        state = State if origin is AggregateRoot else _state_argument(origin)
        if arguments and isinstance(state, TypeVar):
            state = arguments[getattr(origin, "__parameters__", ()).index(state)]
        if state is not None and not isinstance(state, TypeVar):
            return state
        found = state
    return found
