"""The documents of ``/health``, ``/health/ready`` and ``/health/live``, with the names of the contract."""

import enum
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

MANAGER_NOT_INITIALIZED: Final = "manager not initialized"


class HealthStatus(enum.StrEnum):
    """From best to worst; ``max`` by ``rank`` is the worst."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(HealthStatus).index(self)

    @classmethod
    def worst(cls, statuses: Iterable["HealthStatus"]) -> "HealthStatus":
        """Return the worst of them; nothing to complain about is healthy."""
        return max(statuses, key=lambda status: status.rank, default=cls.HEALTHY)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Report(BaseModel):
    """A document with an optional ``reason``, which is left out when there is none."""

    model_config = ConfigDict(frozen=True)

    @model_serializer(mode="wrap")
    def _without_absent_reason(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        if document.get("reason", "") is None:
            del document["reason"]
        return document

    @property
    def http_status(self) -> int:
        """The status code of a probe that answers with this document: 200, or 503 when all is not well."""
        return 200 if self._is_good() else 503

    def to_dict(self) -> dict[str, Any]:
        """Return the document as plain JSON values."""
        return self.model_dump(mode="json")

    def _is_good(self) -> bool:
        raise NotImplementedError


class SubscriptionHealth(BaseModel):
    """One subscription, over all its partitions: the worst partition's lag, the sum of their counters."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: HealthStatus
    state: str
    events_processed: int
    events_failed: int
    lag_events: int
    lag_seconds: float
    error_rate: float
    last_error: str | None
    uptime_seconds: float
    partitions: int
    dead_letters: int
    reasons: tuple[str, ...] = ()


class HealthReport(Report):
    """The whole engine. ``error_rate`` is failures per minute; durations are in seconds."""

    status: HealthStatus
    reason: str | None = None
    running: bool
    subscription_count: int = 0
    healthy_count: int = 0
    degraded_count: int = 0
    unhealthy_count: int = 0
    total_events_processed: int = 0
    total_events_failed: int = 0
    total_lag_events: int = 0
    uptime_seconds: float = 0.0
    timestamp: datetime = Field(default_factory=utc_now)
    subscriptions: tuple[SubscriptionHealth, ...] = ()

    @classmethod
    def unavailable(cls, reason: str) -> Self:
        """Return what can be said when the rows cannot be read."""
        return cls(status=HealthStatus.UNHEALTHY, reason=reason, running=False)

    def _is_good(self) -> bool:
        return self.status in (HealthStatus.HEALTHY, HealthStatus.DEGRADED)


class ReadinessReport(Report):
    """May traffic come here? ``details`` says what was looked at."""

    ready: bool
    reason: str
    details: dict[str, Any] = Field(default_factory=dict)
    timestamp: datetime = Field(default_factory=utc_now)

    def _is_good(self) -> bool:
        return self.ready


class LivenessReport(Report):
    """Is this process worth keeping?"""

    alive: bool
    reason: str | None = None
    timestamp: datetime = Field(default_factory=utc_now)

    def _is_good(self) -> bool:
        return self.alive
