"""What a driver's cursor does around libpq's own calls: rows become objects, and a failed result an error."""

from typing import Final

import psycopg
from psycopg import abc, pq
from psycopg.adapt import Transformer

from eventsource_app.store.session import Row
from eventsource_app.store.text_cursor import TextCursor

# Members of an enumeration take longer to look up than these.
ROWS: Final = pq.ExecStatus.TUPLES_OK
DONE: Final = pq.ExecStatus.COMMAND_OK
IDLE: Final = pq.TransactionStatus.IDLE


def rows_of(driver: psycopg.Connection[Row], result: pq.abc.PGresult) -> list[Row]:
    """Return the result's rows, as a ``TextCursor`` would; raises the driver's error where it has none."""
    if result.status != ROWS:
        raise error_of(driver, result)
    kept = vars(driver)
    transformer: abc.Transformer = kept.get(_KEPT) or kept.setdefault(_KEPT, Transformer(TextCursor(driver)))
    transformer.set_pgresult(result)
    rows: list[Row] = transformer.load_rows(0, result.ntuples, tuple)
    transformer.set_pgresult(None)
    return rows


def error_of(driver: psycopg.Connection[Row], result: pq.abc.PGresult) -> psycopg.Error:
    """Return the error that the driver would raise."""
    if driver.pgconn.status == pq.ConnStatus.BAD:
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result)


_KEPT = "eventsource_transformer"
