"""The first and the last statement of a transaction, each in one round trip with its BEGIN or COMMIT.

An attempt at a batch is such a transaction: with both, and no event handled, it asks the server twice instead of four times.
The statements go as one text with the values in it, so they are quick to plan: a row by its key, a call of a function.
While the server is at it, most of all at a commit that waits for its disk, ``meanwhile`` is worked on: an iterator that
does a little at each step, and nothing with the connection.
"""

import select
from collections.abc import Iterator
from typing import Final

import psycopg
from django.db import InternalError
from psycopg import pq

from eventsource_app.store.libpq import DONE, IDLE, error_of, rows_of
from eventsource_app.store.session import Params, Row, fetch_all, kept_cursor, usable_connection
from eventsource_app.store.text_cursor import TextCursor

Meanwhile = Iterator[object]
NOTHING: Final[Meanwhile] = iter(())


def begin_with(using: str, sql: str, params: Params, meanwhile: Meanwhile) -> list[Row]:
    """Begin Django's transaction with this statement; return its rows, as a ``TextCursor`` does.

    It is a statement like any other where the transaction has begun already, or where there is none.
    """
    connection = usable_connection(using)
    driver: psycopg.Connection[Row] = connection.connection
    if driver.autocommit or driver.pgconn.transaction_status != IDLE or not _begins_plainly(driver):
        return fetch_all(using, sql, params, TextCursor)
    with connection.wrap_database_errors:
        return rows_of(driver, _ask(driver.pgconn, _BEGIN + _bound(driver, sql, params), meanwhile))


def commit_with(using: str, sql: str, params: Params, meanwhile: Meanwhile) -> None:
    """Commit Django's transaction with this statement, whose rows are dropped; nothing may follow it in the block.

    It is a statement like any other inside a savepoint, whose commit is not ours, or where there is no transaction.
    """
    connection = usable_connection(using)
    driver: psycopg.Connection[Row] = connection.connection
    if driver.autocommit or connection.savepoint_ids:
        fetch_all(using, sql, params)
        return
    with connection.wrap_database_errors:
        result = _ask(driver.pgconn, _bound(driver, sql, params) + _COMMIT, meanwhile)
        if result.status != DONE:
            raise error_of(driver, result)
    if result.command_status != b"COMMIT":
        raise InternalError("The transaction was rolled back where it was to commit.")


def _ask(pgconn: pq.abc.PGconn, query: bytes, meanwhile: Meanwhile) -> pq.abc.PGresult:
    """Return the last result of the statements, or the error that ended them."""
    pgconn.send_query(query)
    pgconn.flush()  # a short text never fills the socket
    answer = select.poll()
    answer.register(pgconn.socket, select.POLLIN)
    for _ in meanwhile:
        if answer.poll(0):
            break
    found: pq.abc.PGresult | None = None
    while True:
        while pgconn.is_busy():
            answer.poll()
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            assert found is not None  # noqa: S101 - a query has at least one result
            return found
        found = result


def _begins_plainly(driver: psycopg.Connection[Row]) -> bool:
    return driver.isolation_level is None and driver.read_only is None and driver.deferrable is None


def _bound(driver: psycopg.Connection[Row], sql: str, params: Params) -> bytes:
    cursor = kept_cursor(driver, psycopg.ClientCursor)
    assert isinstance(cursor, psycopg.ClientCursor)  # noqa: S101 - it says so to the type checker
    return cursor.mogrify(sql, params).encode()


_BEGIN: Final = b"BEGIN;"
_COMMIT: Final = b";COMMIT"
