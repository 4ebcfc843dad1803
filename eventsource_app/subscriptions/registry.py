"""The subscriptions that apps declare in their ``subscriptions.py``, with what the settings change about them."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from eventsource_app.store.event_store import type_names
from eventsource_app.store.reading import FeedFilter
from eventsource_app.store.session import option
from eventsource_app.subscriptions.config import ConfigurationError, SubscriptionConfig
from eventsource_app.subscriptions.errors import storable
from eventsource_app.subscriptions.projection import Projection

LONGEST_NAME: Final = 200  # as long as the column
ProjectionClass = TypeVar("ProjectionClass", bound=type[Projection])


@dataclass(frozen=True)
class Subscription:
    """A name, the projection that follows the log under it, and how."""

    name: str
    projection: Projection
    config: SubscriptionConfig
    enable_tracing: bool = True

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= LONGEST_NAME) or storable(self.name) != self.name:
            raise ConfigurationError(
                f"Subscription name {self.name!r} cannot be: use 1 to {LONGEST_NAME} characters that a database can keep."
            )
        self._check_projection()
        self.check_partitions(self.config.partitions)

    def _check_projection(self) -> None:
        class_name = type(self.projection).__name__
        if not isinstance(self.projection, Projection):
            raise ConfigurationError(
                f"Subscription {self.name!r} cannot be: {class_name} is no Projection; derive it from "
                "eventsource_app.subscriptions.Projection, and mark its methods with @handles."
            )
        if self.projection.handles_nothing():
            raise ConfigurationError(
                f"Subscription {self.name!r} cannot be: {class_name} handles nothing, so all events would pass it by; mark its "
                "methods with @handles, or give it handle_batch."
            )

    def check_partitions(self, count: int) -> None:
        """Raise ``ConfigurationError`` where the projection cannot be split into so many."""
        most = self.projection.max_partitions
        if most is not None and count > most:
            raise ConfigurationError(
                f"Subscription {self.name!r} cannot have {count} partitions: {type(self.projection).__name__} says "
                f"max_partitions = {most}, since events of several aggregates write the same rows."
            )

    @property
    def event_types(self) -> tuple[str, ...] | None:
        """The event types it asks for: the configured ones, else the handled ones, else (``None``) all."""
        configured = type_names(self.config.event_types)
        return configured if configured is not None else self.projection.event_types()

    def feed_filter(self, partition: int, partition_count: int) -> FeedFilter:
        return FeedFilter(self.event_types, self.config.aggregate_types, (partition, partition_count))


_declared: dict[str, tuple[type[Projection], SubscriptionConfig]] = {}


def subscription(
    name: str, config: SubscriptionConfig | None = None
) -> Callable[[ProjectionClass], ProjectionClass]:
    """Class decorator that declares a projection as the subscription ``name``; workers find it by themselves."""

    def declare(projection_class: ProjectionClass) -> ProjectionClass:
        known, _ = _declared.get(name, (projection_class, None))
        if (
            f"{known.__module__}.{known.__qualname__}"
            != f"{projection_class.__module__}.{projection_class.__qualname__}"
        ):
            raise ConfigurationError(
                f"Subscription {name!r} is declared by {known.__qualname__} and by {projection_class.__qualname__}; rename one."
            )
        _declared[name] = (projection_class, config or SubscriptionConfig())
        return projection_class

    return declare


def declared_subscriptions() -> dict[str, Subscription]:
    """Return every declared subscription by name, with ``EVENTSOURCE["SUBSCRIPTIONS"][name]`` applied."""
    return {
        name: Subscription(name, projection_class(), configured(name, config))
        for name, (projection_class, config) in sorted(_declared.items())
    }


def configured(name: str, config: SubscriptionConfig) -> SubscriptionConfig:
    """Return the configuration with the settings' overrides; raises ``ConfigurationError`` for an unknown field."""
    overrides: dict[str, Any] = option("SUBSCRIPTIONS", {}).get(name, {})
    unknown = set(overrides) - {field.name for field in dataclasses.fields(SubscriptionConfig)}
    if unknown:
        raise ConfigurationError(
            f"EVENTSOURCE['SUBSCRIPTIONS'][{name!r}] has unknown fields {sorted(unknown)}; remove them."
        )
    if "batch_size" in overrides and "max_in_flight" not in overrides:
        overrides = {**overrides, "max_in_flight": None}
    return dataclasses.replace(config, **overrides)
