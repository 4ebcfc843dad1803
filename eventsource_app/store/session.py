"""Hot statements on Django's own connection, without the ORM's and the cursor wrapper's cost.

The statement joins whatever transaction Django has open, binds on the server, and is prepared once per connection
(``EVENTSOURCE["PREPARED_STATEMENTS"] = False`` behind a transaction pooler). Errors are Django's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]


def option(name: str, default: Any) -> Any:
    """Return one key of the ``EVENTSOURCE`` setting."""
    return getattr(settings, "EVENTSOURCE", {}).get(name, default)


def fetch_all(using: str, sql: str, params: Params = ()) -> list[Row]:
    """Run one statement and return its rows."""
    connection = connections[using]
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors, psycopg.Cursor(_driver(connection)) as cursor:
        return cursor.execute(sql, params, prepare=_prepares()).fetchall()


def fetch_one(using: str, sql: str, params: Params = ()) -> Row:
    """Run one statement and return its only row."""
    return fetch_all(using, sql, params)[0]


def execute(using: str, sql: str, params: Params = ()) -> int:
    """Run one statement that returns nothing; return how many rows it touched."""
    connection = connections[using]
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors, psycopg.Cursor(_driver(connection)) as cursor:
        return cursor.execute(sql, params, prepare=_prepares()).rowcount


def _driver(connection: BaseDatabaseWrapper) -> psycopg.Connection[Row]:
    driver: psycopg.Connection[Row] = connection.connection
    if driver.prepare_threshold is None and _prepares():
        # Django turns preparing off for its own statements; ours ask for it one by one. Django's, bound by the
        # client, are excluded since no text comes often enough to reach this threshold.
        driver.prepare_threshold = _NEVER_BY_ITSELF
    return driver


def _prepares() -> bool:
    return bool(option("PREPARED_STATEMENTS", True))


_NEVER_BY_ITSELF = 2**31
