"""The two statements that a command costs, load and append, at the least that a round trip can take.

Outside a transaction they go through libpq alone: its one call takes a third of the time of a cursor's. Inside one the
driver's cursor has the say, since it begins the transaction and knows which prepared statements a rolled-back savepoint cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq

from eventsource_app.store.libpq import DONE, IDLE, ROWS, rows_of
from eventsource_app.store.session import Row, kept_cursor, prepares, take_all
from eventsource_app.store.text_cursor import RawTextCursor


@dataclass(frozen=True, slots=True)
class HotStatement:
    """SQL with the parameters ``$1``, ``$2``, … and the name to prepare it by; each parameter is sent as text.

    ``joining`` is another text for inside a transaction, where an error would end what is not the statement's own.
    """

    name: bytes
    sql: bytes
    joining: bytes = b""


def fetch_hot(
    connection: BaseDatabaseWrapper, statement: HotStatement, params: Sequence[str | None]
) -> list[Row]:
    """Run the statement on a ``usable_connection``, in its transaction if there is one, and return the rows."""
    driver: psycopg.Connection[Row] = connection.connection
    with connection.wrap_database_errors:
        if driver.autocommit and driver.pgconn.transaction_status == IDLE:
            return _fetch_by_libpq(driver, statement, params)
        cursor = kept_cursor(driver, RawTextCursor)
        return take_all(cursor.execute(statement.joining or statement.sql, params, prepare=prepares()))


def _fetch_by_libpq(
    driver: psycopg.Connection[Row], statement: HotStatement, params: Sequence[str | None]
) -> list[Row]:
    prepared: set[bytes] = vars(driver).get(_PREPARED) or vars(driver).setdefault(_PREPARED, set())
    values = [param if param is None else param.encode() for param in params]
    return rows_of(driver, _ask(driver.pgconn, statement, values, prepared))


def _ask(
    pgconn: pq.abc.PGconn, statement: HotStatement, values: Sequence[Any], prepared: set[bytes]
) -> pq.abc.PGresult:
    if not prepares():
        return pgconn.exec_params(statement.sql, values)
    if statement.name in prepared:
        result = pgconn.exec_prepared(statement.name, values)
        if result.status == ROWS or result.error_field(pq.DiagnosticField.SQLSTATE) != _NO_SUCH_STATEMENT:
            return result
    # The first time; or the driver, after an error in one of its own, has made the server forget all of them.
    result = pgconn.prepare(statement.name, statement.sql)
    if result.status != DONE:
        return result
    prepared.add(statement.name)
    return pgconn.exec_prepared(statement.name, values)


_PREPARED = "eventsource_prepared"
_NO_SUCH_STATEMENT = b"26000"
