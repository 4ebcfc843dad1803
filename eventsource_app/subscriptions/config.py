"""How a subscription runs, and when its health changes colour. Impossible values are refused at once."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

from eventsource_app.events.event import MAX_NAME_LENGTH, DomainEvent, is_storable_name

MAX_PARTITIONS: Final = 1024
IN_FLIGHT_BATCHES: Final = 10
# The server counts a statement's timeout in milliseconds, of which 0 is none, and no more than 32 bits of them.
LEAST_TIMEOUT, MOST_TIMEOUT = 0.001, 2_000_000
# Thirty years. A time beyond the calendar's end cannot be written, nor with it the letter that is to be tried then.
MOST_SECONDS: Final = 1_000_000_000
START_WORDS: Final = ("checkpoint", "beginning", "end")


class CheckpointStrategy(enum.Enum):
    """How many events share one commit. All three are exactly-once for handlers that write to the same database."""

    EVERY_EVENT = "every_event"
    EVERY_BATCH = "every_batch"
    PERIODIC = "periodic"


class ConfigurationError(ValueError):
    """A configuration that cannot work; the sentence names the field and the value."""


@dataclass(frozen=True, kw_only=True)
class SubscriptionConfig:
    """Settings of one subscription; durations are in seconds.

    ``start_from`` is where a subscription without a checkpoint begins (``"checkpoint"`` and ``"beginning"``: at the
    first event; ``"end"``: after the last one; or a position); an existing checkpoint always wins. ``max_in_flight``
    bounds the events read ahead of the checkpoint; when only ``batch_size`` is given it is ten times that.
    """

    start_from: str | int = "checkpoint"
    batch_size: int = 100
    max_in_flight: int | None = None
    checkpoint_strategy: CheckpointStrategy = CheckpointStrategy.EVERY_BATCH
    checkpoint_interval_seconds: float = 5
    processing_timeout: float = 30
    continue_on_error: bool = True
    dead_letter_scope: str = "aggregate"
    max_dead_letters: int | None = None
    max_retries: int = 5
    initial_retry_delay: float = 1
    max_retry_delay: float = 60
    retry_exponential_base: float = 2
    retry_jitter: float = 0.1
    circuit_breaker_enabled: bool = True
    circuit_breaker_failure_threshold: int = 5
    circuit_breaker_recovery_timeout: float = 30
    event_types: tuple[Any, ...] | None = None
    aggregate_types: tuple[str, ...] | None = None
    partitions: int = 1

    def __post_init__(self) -> None:
        if self.max_in_flight is None and _is_count(self.batch_size):
            object.__setattr__(self, "max_in_flight", self.batch_size * IN_FLIGHT_BATCHES)
        for name in ("event_types", "aggregate_types"):
            object.__setattr__(self, name, _as_tuple(name, getattr(self, name)))
        object.__setattr__(self, "checkpoint_strategy", _as_strategy(self.checkpoint_strategy))
        for refused, sentence in self._rules():
            if refused:
                raise ConfigurationError(sentence)

    @property
    def in_flight_limit(self) -> int:
        assert self.max_in_flight is not None  # noqa: S101 - set above
        return self.max_in_flight

    def _rules(self) -> Iterable[tuple[bool, str]]:
        start = self.start_from
        yield (
            not (start in START_WORDS if isinstance(start, str) else _is_count(start)),
            f"start_from={start!r} cannot be: use 'checkpoint', 'beginning', 'end' or a position from 0.",
        )
        for name in ("continue_on_error", "circuit_breaker_enabled"):
            value = getattr(self, name)  # the text "false" would count as true
            yield not isinstance(value, bool), f"{name}={value!r} cannot be: use True or False."
        yield from self._name_rules()
        yield from self._whole_number_rules()
        yield from self._duration_rules()
        yield (
            not (is_number(self.retry_jitter) and 0 <= self.retry_jitter <= 1),
            f"retry_jitter={self.retry_jitter!r} cannot be: use a share from 0 to 1.",
        )
        yield (
            not (is_number(self.retry_exponential_base) and self.retry_exponential_base >= 1),
            f"retry_exponential_base={self.retry_exponential_base!r} cannot be: use 1 or more.",
        )
        yield (
            self.dead_letter_scope not in ("aggregate", "event"),
            f"dead_letter_scope={self.dead_letter_scope!r} cannot be: use 'aggregate' or 'event'.",
        )
        yield (
            self.max_retry_delay < self.initial_retry_delay,
            f"max_retry_delay={self.max_retry_delay} is below initial_retry_delay={self.initial_retry_delay}.",
        )
        yield (
            self.in_flight_limit < self.batch_size,
            f"max_in_flight={self.max_in_flight} is below batch_size={self.batch_size}, so no batch could ever be full.",
        )
        yield (
            self.partitions > MAX_PARTITIONS or self.partitions & (self.partitions - 1) != 0,
            f"partitions={self.partitions} cannot be: use a power of two up to {MAX_PARTITIONS}.",
        )

    def _name_rules(self) -> Iterable[tuple[bool, str]]:
        """What the database cannot be asked for would keep the reader from all subscriptions of its process."""
        for item in self.event_types or ():
            yield (
                not is_storable_name(_event_type(item)),
                f"event_types has {item!r}, which names no event: use classes, or names of 1 to {MAX_NAME_LENGTH} characters.",
            )
        for item in self.aggregate_types or ():
            yield (
                not is_storable_name(item),
                f"aggregate_types has {item!r}, which is no name: use texts of 1 to {MAX_NAME_LENGTH} characters.",
            )

    def _whole_number_rules(self) -> Iterable[tuple[bool, str]]:
        least = {
            "batch_size": 1,
            "max_in_flight": 1,
            "max_retries": 0,
            "circuit_breaker_failure_threshold": 1,
            "partitions": 1,
            "max_dead_letters": 0,
        }
        for name, minimum in least.items():
            value = getattr(self, name)
            optional = name == "max_dead_letters" and value is None
            yield (
                not optional and not (_is_count(value) and value >= minimum),
                f"{name}={value!r} cannot be: use a whole number from {minimum}.",
            )

    def _duration_rules(self) -> Iterable[tuple[bool, str]]:
        for field in fields(self):
            if field.name.endswith(("_seconds", "_timeout", "_delay")):
                value = getattr(self, field.name)
                yield (
                    not (is_number(value) and 0 < value <= MOST_SECONDS),
                    f"{field.name}={value!r} cannot be: use seconds above 0, {MOST_SECONDS:,} at most.",
                )
        yield (
            not LEAST_TIMEOUT <= self.processing_timeout <= MOST_TIMEOUT,
            f"processing_timeout={self.processing_timeout!r} cannot be: use {LEAST_TIMEOUT} to {MOST_TIMEOUT} seconds.",
        )


@dataclass(frozen=True, kw_only=True)
class HealthCheckConfig:
    """Thresholds of health: at a warning a subscription is degraded, at a critical one critical.

    Error counts are of the last hour, the rate of its last five minutes. ``max_frozen_seconds`` is how long events may
    wait while the checkpoint stands still; it must exceed what one batch may take.
    """

    max_error_rate_per_minute: float = 10
    max_errors_warning: int = 50
    max_errors_critical: int = 200
    max_lag_events_warning: int = 5000
    max_lag_events_critical: int = 50000
    max_dead_letters_warning: int = 10
    max_dead_letters_critical: int = 100
    max_frozen_seconds: float = 60

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (is_number(value) and value >= 0):
                raise ConfigurationError(f"{field.name}={value!r} cannot be: use a number from 0.")
        for name in ("max_errors", "max_lag_events", "max_dead_letters"):
            warning, critical = getattr(self, f"{name}_warning"), getattr(self, f"{name}_critical")
            if warning > critical:
                raise ConfigurationError(
                    f"{name}_warning={warning} is above {name}_critical={critical}; swap them."
                )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _event_type(item: Any) -> Any:
    """Return the name of an event type that is given as its class; that of ``DomainEvent`` itself is empty."""
    return item.declared("event_type") if isinstance(item, type) and issubclass(item, DomainEvent) else item


def _as_strategy(value: object) -> CheckpointStrategy:
    try:
        return CheckpointStrategy(value)
    except ValueError:
        known = ", ".join(repr(strategy.value) for strategy in CheckpointStrategy)
        raise ConfigurationError(f"checkpoint_strategy={value!r} cannot be: use {known}.") from None


def _as_tuple(name: str, value: Any) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{name}={value!r} cannot be: use a list of names.")
    return tuple(value)
