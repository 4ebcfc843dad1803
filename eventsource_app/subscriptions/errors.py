"""Whose fault an error is: one table, that users extend, from exception to category, severity and retryability."""

import enum
import functools
import threading
from dataclasses import dataclass, replace

import psycopg_pool
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DataError, Error, IntegrityError, InterfaceError, InternalError, OperationalError
from psycopg import errors as pg

from eventsource_app.events import (
    InvalidEventError,
    NewerSchemaVersionError,
    UnknownEventTypeError,
    UnreadableEventError,
    UpcasterGapError,
)
from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.recorded_event import RecordedEvent


@functools.total_ordering
class ErrorSeverity(enum.Enum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, ErrorSeverity):
            return NotImplemented
        order = list(ErrorSeverity)
        return order.index(self) < order.index(other)


class ErrorCategory(enum.Enum):
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    INFRASTRUCTURE = "infrastructure"
    APPLICATION = "application"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ErrorClassification:
    """Whose fault it is, how bad, and whether trying again may help."""

    category: ErrorCategory
    severity: ErrorSeverity
    retryable: bool = True
    blames_event: bool = False

    @property
    def parks(self) -> bool:
        """Say whether the event is to blame; otherwise the world is, and the event waits for it.

        ``blames_event`` says so whatever the category.
        """
        return self.blames_event or self.category not in (
            ErrorCategory.INFRASTRUCTURE,
            ErrorCategory.TRANSIENT,
        )


class PermanentError(EventSourceError):
    """Raise it (or a subclass) in a handler when no retry can ever help: the event is dead at once."""


class ProcessingTimeoutError(EventSourceError):
    """A handler took longer than ``processing_timeout``."""


class HandlerExitedError(Exception):
    """A handler raised what ends a thread or a process (``SystemExit``, ``CancelledError``) and ended neither."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"The handler raised {type(error).__name__}: {describe(error)}")


class TransactionEndedError(Exception):
    """A handler ended the attempt's transaction by a COMMIT or ROLLBACK of its own."""

    def __init__(self) -> None:
        super().__init__(
            "A handler ended the transaction that its writes share with the checkpoint, by a COMMIT or ROLLBACK of its own; "
            "have it use transaction.atomic(), whose savepoints may be rolled back."
        )


class BlockLeftOpenError(Exception):
    """A handler began an atomic block and did not end it."""

    def __init__(self) -> None:
        super().__init__(
            "A handler left a block of transaction.atomic() open, in which the checkpoint would never be committed; have it "
            "begin the block by a with statement that ends before the handler does."
        )


class ProcessKillerError(Exception):
    """An event during whose handling the process died again and again (out of memory, a crash)."""

    def __init__(self, recorded: RecordedEvent, deaths: int) -> None:
        super().__init__(
            f"The worker process died {deaths} times while it handled {recorded.event_type} at position {recorded.position}, "
            "so it is not tried again by itself; look at the process's memory and logs, then retry or discard it."
        )


def _row(category: ErrorCategory, severity: ErrorSeverity, *, retryable: bool = True) -> ErrorClassification:
    return ErrorClassification(category, severity, retryable)


_INFRASTRUCTURE = _row(ErrorCategory.INFRASTRUCTURE, ErrorSeverity.MEDIUM)
_TRANSIENT = _row(ErrorCategory.TRANSIENT, ErrorSeverity.LOW)
_TIMED_OUT = _row(ErrorCategory.APPLICATION, ErrorSeverity.HIGH)
_BAD_DATA = _row(ErrorCategory.APPLICATION, ErrorSeverity.MEDIUM)
_BUG = _row(ErrorCategory.APPLICATION, ErrorSeverity.HIGH)
# Dead at once: each retry would commit the handler's writes once more.
_ENDED = _row(ErrorCategory.APPLICATION, ErrorSeverity.HIGH, retryable=False)
_FATAL = _row(ErrorCategory.INFRASTRUCTURE, ErrorSeverity.CRITICAL, retryable=False)
# Parked like what an event causes, reported like what breaks the house.
_PROCESS_KILLER = replace(_FATAL, blames_event=True)
UNKNOWN = _row(ErrorCategory.UNKNOWN, ErrorSeverity.MEDIUM)

# The first row that fits decides, and the driver's own error is asked before Django's wrapping of it.
_TABLE: list[tuple[tuple[type[BaseException], ...], ErrorClassification]] = [
    ((PermanentError,), _row(ErrorCategory.PERMANENT, ErrorSeverity.HIGH, retryable=False)),
    ((ProcessKillerError,), _PROCESS_KILLER),
    ((TransactionEndedError,), _ENDED),
    ((MemoryError, pg.OutOfMemory, pg.DiskFull), _FATAL),
    ((pg.DeadlockDetected, pg.SerializationFailure, pg.LockNotAvailable), _TRANSIENT),
    ((pg.QueryCanceled, pg.IdleInTransactionSessionTimeout, ProcessingTimeoutError), _TIMED_OUT),
    (
        (
            pg.AdminShutdown,
            pg.CrashShutdown,
            pg.CannotConnectNow,
            pg.TooManyConnections,
            pg.ReadOnlySqlTransaction,  # a standby, during a failover
            psycopg_pool.PoolTimeout,
            psycopg_pool.PoolClosed,
            psycopg_pool.TooManyRequests,
        ),
        _INFRASTRUCTURE,
    ),
    ((pg.ProgramLimitExceeded, pg.StatementTooComplex), _BAD_DATA),
    ((UnknownEventTypeError, NewerSchemaVersionError, UpcasterGapError, UnreadableEventError), _BUG),
    ((IntegrityError, DataError, ValidationError, InvalidEventError, ObjectDoesNotExist), _BAD_DATA),
    (
        (OperationalError, InterfaceError, pg.OperationalError, pg.InterfaceError, ConnectionError),
        _INFRASTRUCTURE,
    ),
    ((TypeError, AttributeError, NameError, BlockLeftOpenError), _BUG),
    ((ValueError, LookupError, ArithmeticError, InternalError, Error), _BAD_DATA),
]


def classify(error: BaseException) -> ErrorClassification:
    """Return whose fault an error is, by the first row of the table that fits it or its database cause."""
    causes = [error.__cause__, error] if isinstance(error, Error) and error.__cause__ is not None else [error]
    for cause in causes:
        for types, classification in _TABLE:
            if isinstance(cause, types):
                return classification
    return UNKNOWN


def classify_as(error_type: type[BaseException], classification: ErrorClassification) -> None:
    """Put a row of your own before all others, for example for an API client's "try again later"."""
    _TABLE.insert(0, ((error_type,), classification))


def describe(error: BaseException) -> str:
    """Return what an error says, as the database can keep it; its own DETAIL, which may hold values of people, is cut off."""
    try:
        text = str(error)
    except Exception:  # an error's own __str__ is anybody's code
        text = ""
    said = text.partition("\nDETAIL")[0].partition("\nCONTEXT")[0].strip()
    return storable(said) or type(error).__name__


def storable(text: str) -> str:
    """Return the text as PostgreSQL can keep it: without NUL, and without what its encoding lacks (lone surrogates)."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def was_cancelled(error: BaseException) -> bool:
    """Say whether a statement was cancelled, by its timeout or by somebody."""
    return isinstance(error, pg.QueryCanceled) or isinstance(error.__cause__, pg.QueryCanceled)


def is_for_the_process(error: BaseException) -> bool:
    """Say whether an error is for more than the event: Ctrl-C or an exit, in the main thread of an operator's process."""
    return not isinstance(error, Exception) and threading.current_thread() is threading.main_thread()


def when_exhausted(classification: ErrorClassification, delay: float | None) -> ErrorClassification:
    """An event that no retry is left for is an operator's from here on, whatever began it: critical."""
    if delay is not None or not classification.retryable:
        return classification
    return replace(classification, severity=ErrorSeverity.CRITICAL)
