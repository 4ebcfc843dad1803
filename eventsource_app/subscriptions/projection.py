"""Projections: what follows the log. Handlers run inside the transaction that moves the checkpoint."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from eventsource_app.events.event import DomainEvent
from eventsource_app.store.recorded_event import RecordedEvent

Handler = TypeVar("Handler", bound=Callable[..., Any])
_MARK = "_eventsource_handles"


def handles(*event_classes: type[DomainEvent]) -> Callable[[Handler], Handler]:
    """Mark a method as the handler of these events; it takes the event and, if it has a second parameter, the
    ``RecordedEvent`` with its position."""
    if not event_classes:
        raise TypeError("@handles() needs at least one event class, as in @handles(OrderCreated).")

    def mark(method: Handler) -> Handler:
        setattr(method, _MARK, event_classes)
        return method

    return mark


class Projection:
    """Base of projections: methods marked ``@handles(...)``, or one ``handle_batch``, and ``reset``.

    A projection with ``handle_batch(self, recorded: list[RecordedEvent])`` says what it handles in ``handled_events``
    (nothing said: every event). It must accept any contiguous slice of the feed. ``reset`` empties the read model.
    A read model with rows that events of several aggregates write says ``max_partitions = 1``.
    """

    handled_events: ClassVar[Sequence[type[DomainEvent]]] = ()
    max_partitions: ClassVar[int | None] = None
    _handlers: ClassVar[dict[str, tuple[str, bool]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._handlers = _collect(cls)
        if cls._handlers and cls.takes_batches():
            raise TypeError(f"{cls.__name__} has both handle_batch and @handles methods; keep one kind.")
        if "" in (cls.event_types() or ()):
            raise TypeError(
                f"{cls.__name__} handles DomainEvent itself, which no event is; name their classes, or have handle_batch take "
                "every event by naming none."
            )
        for name in ("handle", "handle_batch", "reset", *(name for name, _ in cls._handlers.values())):
            if never_runs(getattr(cls, name, None)):
                raise TypeError(
                    f"{cls.__name__}.{name} is async or a generator, so a call of it would do nothing; make it a plain method."
                )

    @classmethod
    def takes_batches(cls) -> bool:
        return callable(getattr(cls, "handle_batch", None))

    @classmethod
    def handles_nothing(cls) -> bool:
        """Say whether all events would pass by: it has no method that takes any."""
        return not cls._handlers and not cls.takes_batches() and cls.handle is Projection.handle

    @classmethod
    def event_types(cls) -> tuple[str, ...] | None:
        """Return the names of the handled event types; ``None`` when it takes every event."""
        if cls._handlers:
            return tuple(sorted(cls._handlers))
        return tuple(sorted(e.declared("event_type") for e in cls.handled_events)) or None

    def handle(self, recorded: RecordedEvent) -> None:
        """Give one event to its handler; an event without one passes by."""
        found = self._handlers.get(recorded.event_type)
        if found is None:
            return
        name, wants_recorded = found
        method = getattr(self, name)
        if wants_recorded:
            method(recorded.event, recorded)
        else:
            method(recorded.event)

    def reset(self) -> None:
        """Empty the read model, for a rebuild."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot be rebuilt: give it a reset() that empties its read model."
        )


def never_runs(method: object) -> bool:
    """Say whether a call only makes something that waits to be awaited or iterated over: what it is for would not happen."""
    return inspect.iscoroutinefunction(method) or inspect.isgeneratorfunction(method)


def _marked(cls: type[Projection], name: str) -> Sequence[type[DomainEvent]]:
    """Return the events of a method: a mark of its own, or else of the method that it overrides."""
    marks = (getattr(vars(base).get(name), _MARK, None) for base in cls.__mro__)
    return next(filter(None, marks), ())


def _collect(cls: type[Projection]) -> dict[str, tuple[str, bool]]:
    """Map each handled event type to its method and whether that wants the ``RecordedEvent`` too."""
    found: dict[str, tuple[str, bool]] = {}
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        for event_class in _marked(cls, name) if callable(method) else ():
            event_type = event_class.declared("event_type")
            if event_type in found:
                raise TypeError(
                    f"{cls.__name__} handles {event_type} twice, in {found[event_type][0]} and {name}; keep one."
                )
            found[event_type] = (name, len(inspect.signature(method).parameters) > 2)
    return found
