"""Hot statements on Django's own connection, without the ORM's and the cursor wrapper's cost.

The statement joins whatever transaction Django has open, binds on the server, and is prepared once per connection
(``EVENTSOURCE["PREPARED_STATEMENTS"] = False`` behind a transaction pooler). Errors are Django's.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import psycopg
from django.conf import settings
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import receiver

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]


def option(name: str, default: Any) -> Any:
    """Return one key of the ``EVENTSOURCE`` setting."""
    return _options().get(name, default)


def log_database() -> str:
    """Return the database alias that has the log and all that belongs to it: ``EVENTSOURCE["DATABASE"]``."""
    return str(option("DATABASE", DEFAULT_DB_ALIAS))


@cache
def _options() -> Mapping[str, Any]:
    """Kept, since Django's settings object takes longer to answer than the checks that ask it."""
    options: Mapping[str, Any] = getattr(settings, "EVENTSOURCE", {})
    return options


@receiver(setting_changed)
def _forget_options(setting: str, **kwargs: Any) -> None:
    """Tests change settings while the process runs."""
    if setting == "EVENTSOURCE":
        _options.cache_clear()


def leave_pool(using: str) -> None:
    """Give this thread a connection of its own for good: a loop that keeps one gains nothing by a pool.

    After an outage a pool tries again on a schedule of its own, and whoever asks it waits for up to its timeout.
    """
    connection = connections[using]
    options = connection.settings_dict["OPTIONS"]
    if "pool" in options and not connection.in_atomic_block:
        connection.close()
        alone = {name: value for name, value in options.items() if name != "pool"}
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": alone}


def fetch_all(
    using: str, sql: str, params: Params = (), kind: type[psycopg.Cursor[Row]] = psycopg.Cursor
) -> list[Row]:
    """Run one statement by a cursor of this kind and return its rows."""
    connection = usable_connection(using)
    driver: psycopg.Connection[Row] = connection.connection
    with connection.wrap_database_errors:
        return take_all(kept_cursor(driver, kind).execute(sql, params, prepare=prepares()))


def fetch_one(using: str, sql: str, params: Params = ()) -> Row:
    """Run one statement and return its only row."""
    return fetch_all(using, sql, params)[0]


def execute(using: str, sql: str, params: Params = ()) -> int:
    """Run one statement that returns nothing; return how many rows it touched."""
    connection = usable_connection(using)
    with connection.wrap_database_errors:
        return kept_cursor(connection.connection).execute(sql, params, prepare=prepares()).rowcount


def usable_connection(using: str) -> BaseDatabaseWrapper:
    """Return Django's connection, open; raises ``TransactionManagementError`` in a transaction that is broken already."""
    connection = connections[using]
    if not vars(connection)["health_check_done"]:
        connection.close_if_health_check_failed()  # as before any cursor of Django's own: once in a request
    # Tests without a database put a guard of their own in the method's place, which an open connection must not pass by.
    if connection.connection is None or BaseDatabaseWrapper.ensure_connection.__name__ != "ensure_connection":
        connection.ensure_connection()
    connection.validate_no_broken_transaction()
    return connection


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the name of the constraint that the statement violated."""
    cause = error.__cause__
    return cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None


def kept_cursor(
    driver: psycopg.Connection[Row], kind: type[psycopg.Cursor[Row]] = psycopg.Cursor
) -> psycopg.Cursor[Row]:
    """Return the driver connection's one cursor of a kind: making it, and what it learns of types, costs more than an append."""
    name = _CURSOR + kind.__name__
    cursor: psycopg.Cursor[Row] | None = vars(driver).get(name)
    if cursor is None:
        if driver.prepare_threshold is None and prepares():
            # Django turns preparing off for its own statements; ours ask for it one by one. Django's, bound by the
            # client, are excluded since no text comes often enough to reach this threshold.
            driver.prepare_threshold = _NEVER_BY_ITSELF
        cursor = vars(driver)[name] = kind(driver)
    return cursor


def take_all(cursor: psycopg.Cursor[Row]) -> list[Row]:
    """Return all rows of a kept cursor's result, and give back its memory: the cursor would hold it until its next statement."""
    rows = cursor.fetchall()
    if cursor.pgresult is not None:
        cursor.pgresult.clear()
    return rows


def prepares() -> bool:
    """Say whether statements may be prepared on the server."""
    return bool(option("PREPARED_STATEMENTS", True))


_NEVER_BY_ITSELF = 2**31
_CURSOR = "eventsource_"
