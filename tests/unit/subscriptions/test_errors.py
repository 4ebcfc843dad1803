"""Whose fault an error is: the table of PROTOCOLS.md, row by row."""

import itertools
from datetime import UTC, datetime
from typing import Any

import psycopg_pool
import pytest
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import (
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from psycopg import errors as pg

from eventsource_app.events import UnknownEventTypeError
from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import (
    ConfigurationError,
    ErrorCategory,
    ErrorClassification,
    ErrorInfo,
    ErrorSeverity,
    PermanentError,
    classify,
    classify_as,
)
from eventsource_app.subscriptions import errors as errors_module
from eventsource_app.subscriptions.errors import (
    BlockLeftOpenError,
    ProcessKillerError,
    TransactionEndedError,
    describe,
)
from eventsource_app.subscriptions.reporting import ErrorCallbacks
from tests.builders import a_stream, paid_in


def wrapped(outer: Exception, cause: Exception) -> Exception:
    """An error as Django raises it: its own class, with the driver's as the cause."""
    outer.__cause__ = cause
    return outer


class MyPermanentError(PermanentError):
    pass


class DeepValueError(ValueError):
    pass


A_RECORD = RecordedEvent(7, paid_in(a_stream()), datetime(2026, 1, 1, tzinfo=UTC))
TABLE: list[tuple[Exception, str, str, bool, bool]] = [
    # error, category, severity, retryable, parks
    (wrapped(OperationalError(), pg.OperationalError()), "infrastructure", "medium", True, False),
    (wrapped(OperationalError(), pg.AdminShutdown()), "infrastructure", "medium", True, False),
    (wrapped(InternalError(), pg.ReadOnlySqlTransaction()), "infrastructure", "medium", True, False),
    (wrapped(OperationalError(), pg.CannotConnectNow()), "infrastructure", "medium", True, False),
    (wrapped(OperationalError(), pg.TooManyConnections()), "infrastructure", "medium", True, False),
    (wrapped(OperationalError(), psycopg_pool.PoolTimeout()), "infrastructure", "medium", True, False),
    (psycopg_pool.PoolTimeout(), "infrastructure", "medium", True, False),
    (InterfaceError(), "infrastructure", "medium", True, False),
    (ConnectionResetError(), "infrastructure", "medium", True, False),
    (wrapped(OperationalError(), pg.DeadlockDetected()), "transient", "low", True, False),
    (wrapped(OperationalError(), pg.SerializationFailure()), "transient", "low", True, False),
    (wrapped(OperationalError(), pg.LockNotAvailable()), "transient", "low", True, False),
    (wrapped(OperationalError(), pg.QueryCanceled()), "application", "high", True, True),
    (wrapped(InternalError(), pg.IdleInTransactionSessionTimeout()), "application", "high", True, True),
    (UnknownEventTypeError("OrderLost"), "application", "high", True, True),
    (ValidationError("no"), "application", "medium", True, True),
    (wrapped(IntegrityError(), pg.UniqueViolation()), "application", "medium", True, True),
    (wrapped(DataError(), pg.NumericValueOutOfRange()), "application", "medium", True, True),
    (ObjectDoesNotExist(), "application", "medium", True, True),
    (ValueError(), "application", "medium", True, True),
    (DeepValueError(), "application", "medium", True, True),
    (KeyError("x"), "application", "medium", True, True),
    (ZeroDivisionError(), "application", "medium", True, True),
    (TypeError(), "application", "high", True, True),
    (AttributeError(), "application", "high", True, True),
    (NameError(), "application", "high", True, True),
    (PermanentError("never"), "permanent", "high", False, True),
    (MyPermanentError("never"), "permanent", "high", False, True),
    (ProcessKillerError(A_RECORD, 2), "infrastructure", "critical", False, True),
    (TransactionEndedError(), "application", "high", False, True),
    (BlockLeftOpenError(), "application", "high", True, True),
    (MemoryError(), "infrastructure", "critical", False, False),
    (wrapped(OperationalError(), pg.DiskFull()), "infrastructure", "critical", False, False),
    (wrapped(OperationalError(), pg.OutOfMemory()), "infrastructure", "critical", False, False),
    (RuntimeError(), "unknown", "medium", True, True),
]


@pytest.mark.parametrize(
    ("error", "category", "severity", "retryable", "parks"),
    TABLE,
    ids=[f"{type(row[0]).__name__} {type(row[0].__cause__).__name__}" for row in TABLE],
)
def test_the_table(error: Exception, category: str, severity: str, retryable: bool, parks: bool) -> None:
    found = classify(error)
    assert (found.category.value, found.severity.value) == (category, severity)
    assert (found.retryable, found.parks) == (retryable, parks)


def test_a_missing_table_is_the_applications_and_parks() -> None:
    assert classify(wrapped(ProgrammingError(), pg.UndefinedTable())).parks


def test_an_error_that_a_handler_raises_because_of_the_databases_is_its_own() -> None:
    """Only Django's own wrapping is looked through: `raise ValueError from operational_error` is a ValueError."""
    assert classify(wrapped(ValueError(), pg.OperationalError())).parks


@pytest.fixture
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors_module, "_TABLE", list(errors_module._TABLE))


@pytest.mark.usefixtures("own_table")
def test_users_rows_go_first() -> None:
    class TryAgainLaterError(ValueError):
        pass

    mine = ErrorClassification(ErrorCategory.TRANSIENT, ErrorSeverity.LOW)
    classify_as(TryAgainLaterError, mine)
    assert classify(TryAgainLaterError()) is mine
    assert classify(ValueError()).category is ErrorCategory.APPLICATION


def test_severities_are_ordered_by_weight_not_by_spelling() -> None:
    low, medium, high, critical = ErrorSeverity
    assert low < medium < high < critical
    assert sorted([critical, low, high, medium]) == [low, medium, high, critical]
    for one, other in itertools.product(ErrorSeverity, repeat=2):
        assert (one >= other) == (not one < other)
    with pytest.raises(TypeError):
        _ = low < "critical"


def test_a_databases_detail_is_cut_off() -> None:
    text = 'duplicate key value violates unique constraint "x"\nDETAIL:  Key (email)=(a@b.c) already exists.\nCONTEXT: y'
    assert describe(IntegrityError(text)) == 'duplicate key value violates unique constraint "x"'
    assert describe(ValueError()) == "ValueError"


def info(severity: ErrorSeverity, category: ErrorCategory = ErrorCategory.UNKNOWN) -> ErrorInfo:
    classification = ErrorClassification(category, severity)
    values: dict[str, Any] = dict.fromkeys(ErrorInfo.__dataclass_fields__)
    return ErrorInfo(**{**values, "subscription_name": "orders", "classification": classification})


@pytest.mark.parametrize(("threshold", "heard"), [("low", 4), ("medium", 3), ("high", 2), ("critical", 1)])
def test_a_severity_and_above(threshold: str, heard: int) -> None:
    callbacks, got = ErrorCallbacks(), list[ErrorInfo]()
    callbacks.on_severity(ErrorSeverity(threshold), got.append)
    for severity in ErrorSeverity:
        callbacks.report(info(severity))
    assert len(got) == heard
    assert all(each.classification.severity >= ErrorSeverity(threshold) for each in got)


def test_a_category_alone() -> None:
    callbacks, got = ErrorCallbacks(), list[ErrorInfo]()
    callbacks.on_category(ErrorCategory.PERMANENT, got.append)
    for category in ErrorCategory:
        callbacks.report(info(ErrorSeverity.LOW, category))
    assert [each.classification.category for each in got] == [ErrorCategory.PERMANENT]


def test_a_callback_may_name_its_severity_and_its_category_but_none_that_there_is_not() -> None:
    callbacks, got = ErrorCallbacks(), list[ErrorInfo]()
    callbacks.on_severity("high", got.append)  # type: ignore[arg-type]
    callbacks.on_category("permanent", got.append)  # type: ignore[arg-type]
    callbacks.report(info(ErrorSeverity.CRITICAL, ErrorCategory.PERMANENT))
    assert len(got) == 2
    with pytest.raises(ValueError, match="'urgent' is not a valid ErrorSeverity"):
        callbacks.on_severity("urgent", got.append)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'house' is not a valid ErrorCategory"):
        callbacks.on_category("house", got.append)  # type: ignore[arg-type]


def test_a_callback_that_a_call_would_not_run_is_refused() -> None:
    """As from the tutorial with its async left in: nobody would be told of anything."""

    async def alert_critical_errors(_: ErrorInfo) -> None: ...

    callbacks = ErrorCallbacks()
    for add in (
        callbacks.on_error,
        lambda callback: callbacks.on_severity(ErrorSeverity.CRITICAL, callback),
        lambda callback: callbacks.on_category(ErrorCategory.UNKNOWN, callback),
    ):
        with pytest.raises(ConfigurationError, match=r"alert_critical_errors is async or a generator"):
            add(alert_critical_errors)


def test_a_callback_that_raises_does_not_keep_the_next_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: ErrorInfo) -> None:
        raise RuntimeError("the pager is away")

    callbacks, got = ErrorCallbacks(), list[ErrorInfo]()
    callbacks.on_error(broken)
    callbacks.on_error(got.append)
    callbacks.report(info(ErrorSeverity.LOW))
    assert len(got) == 1
    assert "Error callback failed" in caplog.text
