"""Reporting failures: what is told of a failed attempt, and to whom."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.errors import (
    ErrorCategory,
    ErrorClassification,
    ErrorSeverity,
    describe,
    is_for_the_process,
)
from eventsource_app.subscriptions.projection import never_runs

logger = logging.getLogger("eventsource.errors")
alerts = logging.getLogger("eventsource.alerts")


@dataclass(frozen=True)
class ErrorInfo:
    """One failed attempt, as error callbacks get it; ``retry_count`` is 0 for the first attempt."""

    subscription_name: str
    event_id: UUID | None
    event_type: str | None
    position: int | None
    aggregate_id: UUID | None
    error_type: str
    error_message: str
    retry_count: int
    classification: ErrorClassification
    occurred_at: datetime
    correlation_id: str | None = None


def error_info(
    name: str,
    recorded: RecordedEvent | None,
    error: BaseException,
    classification: ErrorClassification,
    retry_count: int,
) -> ErrorInfo:
    return ErrorInfo(
        subscription_name=name,
        event_id=recorded.event_id if recorded else None,
        event_type=recorded.event_type if recorded else None,
        position=recorded.position if recorded else None,
        aggregate_id=recorded.aggregate_id if recorded else None,
        error_type=f"{type(error).__module__}.{type(error).__qualname__}",
        error_message=describe(error),
        retry_count=retry_count,
        classification=classification,
        occurred_at=datetime.now(UTC),
        correlation_id=recorded.correlation_id if recorded else None,
    )


def critical_info(
    name: str, recorded: RecordedEvent | None, error: BaseException, category: ErrorCategory
) -> ErrorInfo:
    """Return what befell a whole subscription: critical, whatever began it."""
    return error_info(name, recorded, error, ErrorClassification(category, ErrorSeverity.CRITICAL), 0)


ErrorCallback = Callable[[ErrorInfo], object]
Wanted = Callable[[ErrorInfo], bool]


class ErrorCallbacks:
    """Who wants to hear of failures, and how many attempts failed. A callback that raises is logged and harms nothing.

    One call per failed attempt (``report``), critical when it was the last; and one for what befalls a whole subscription
    (``tell``: its breaker opened, it is full of dead letters, refused, or hangs), which is no attempt and not counted.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._callbacks: list[tuple[Wanted, ErrorCallback]] = []

    def on_error(self, callback: ErrorCallback) -> None:
        self._add(lambda info: True, callback)

    def on_severity(self, severity: ErrorSeverity, callback: ErrorCallback) -> None:
        """Call for this severity and above."""
        least = ErrorSeverity(severity)  # a mere name would equal nothing, and nobody would be told
        self._add(lambda info: info.classification.severity >= least, callback)

    def on_category(self, category: ErrorCategory, callback: ErrorCallback) -> None:
        wanted = ErrorCategory(category)
        self._add(lambda info: info.classification.category is wanted, callback)

    def counts(self) -> dict[str, int]:
        """Return how many attempts have failed so far, by subscription."""
        with self._lock:
            return dict(self._counts)

    def report(self, info: ErrorInfo) -> None:
        """An attempt failed: count it, and call whoever wants to hear of it."""
        with self._lock:
            self._counts[info.subscription_name] += 1
        self.tell(info)

    def tell(self, info: ErrorInfo) -> None:
        for wants, callback in tuple(self._callbacks):
            try:
                if wants(info):
                    callback(info)
            except BaseException as error:
                if is_for_the_process(error):
                    raise
                logger.exception("Error callback failed", extra={"callback": _name_of(callback)})

    def _add(self, wants: Wanted, callback: ErrorCallback) -> None:
        if never_runs(callback):
            raise ConfigurationError(
                f"Error callback {_name_of(callback)} is async or a generator, so a call of it would do nothing; make it a plain "
                "function."
            )
        self._callbacks.append((wants, callback))


def _name_of(callback: ErrorCallback) -> str:
    return getattr(callback, "__name__", repr(callback))


def log_error(info: ErrorInfo) -> None:
    """The default callback: one line per failed attempt."""
    logger.error(
        "Subscription error",
        extra={
            **_told_of(info),
            "position": info.position,
            "error_type": info.error_type,
            "severity": info.classification.severity.value,
            "category": info.classification.category.value,
            "retry_count": info.retry_count,
        },
    )


def log_critical(info: ErrorInfo) -> None:
    """The default callback for critical errors: the line that wakes somebody up."""
    alerts.critical("CRITICAL ERROR in %s", info.subscription_name, extra=_told_of(info))


def _told_of(info: ErrorInfo) -> dict[str, object]:
    """The fields that both lines have; the request's correlation id where the event came with one."""
    about: dict[str, object] = {
        "subscription": info.subscription_name,
        "event_id": str(info.event_id) if info.event_id else None,
        "event_type": info.event_type,
        "aggregate_id": str(info.aggregate_id) if info.aggregate_id else None,
        "error_message": info.error_message,
    }
    return about | ({"correlation_id": info.correlation_id} if info.correlation_id else {})
