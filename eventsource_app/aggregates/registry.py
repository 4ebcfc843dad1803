"""The aggregate classes by their type: for whoever has only a stream's name, as the operator's desk does."""

from collections.abc import Callable
from typing import Any, TypeVar

from eventsource_app.aggregates.aggregate import AggregateRoot
from eventsource_app.exceptions import EventSourceError

AggregateClass = TypeVar("AggregateClass", bound=type[AggregateRoot[Any]])
_classes: dict[str, type[AggregateRoot[Any]]] = {}


class DuplicateAggregateTypeError(EventSourceError):
    """Two classes claim one aggregate type."""


def register_aggregate(aggregate_class: AggregateClass) -> AggregateClass:
    """Class decorator that makes an aggregate known by its ``aggregate_type``; raises ``DuplicateAggregateTypeError``.

    Registered, its state at any version can be shown. Import it at start-up (an app's ``aggregate`` or ``aggregates``
    module is imported by itself).
    """
    known = _classes.setdefault(aggregate_class.aggregate_type, aggregate_class)
    if (known.__module__, known.__qualname__) != (aggregate_class.__module__, aggregate_class.__qualname__):
        raise DuplicateAggregateTypeError(
            f"Aggregate type {aggregate_class.aggregate_type!r} is registered by {known.__module__}.{known.__qualname__}, "
            f"so {aggregate_class.__module__}.{aggregate_class.__qualname__} needs another aggregate_type."
        )
    _classes[aggregate_class.aggregate_type] = aggregate_class
    return aggregate_class


def registered_aggregate(aggregate_type: str) -> Callable[..., AggregateRoot[Any]] | None:
    """Return the class of an aggregate type; ``None`` when none is registered."""
    return _classes.get(aggregate_type)
