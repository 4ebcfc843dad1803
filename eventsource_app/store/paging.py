"""The whole log in pages that stay near a few megabytes, whatever the size of the events."""

from collections.abc import Iterator
from typing import Any, Final

from eventsource_app.store.session import Row, fetch_all
from eventsource_app.store.text_cursor import TextCursor

PAGE_BYTES: Final = 4 * 1024 * 1024
FIRST_ROWS: Final = 20
MOST_ROWS: Final = 500


def page_statement(columns: str, size: str) -> str:
    """Return the statement for ``pages``: named ``columns``, a row's ``size`` in bytes by these names.

    How many rows to ask for is a guess, and the next events may be a thousand times larger than those before. So of the
    rows asked for it returns those that begin within the page's bytes, each with the bytes up to its end and its position.
    """
    return (
        f"SELECT *, position FROM (SELECT page.*, sum({size}) OVER (ORDER BY position) AS bytes_through "  # noqa: S608
        f"FROM (SELECT {columns} FROM eventsource_app_event e WHERE position > %s AND position <= %s "
        f"ORDER BY position LIMIT %s) AS page) AS measured WHERE bytes_through - {size} < %s ORDER BY position"
    )


def pages(using: str, statement: str, bound: int, *params: Any) -> Iterator[list[Row]]:
    """Read the log up to ``bound``; ``params`` are those of the statement's columns."""
    after, row_count = 0, FIRST_ROWS
    while rows := fetch_all(using, statement, (*params, after, bound, row_count, PAGE_BYTES), TextCursor):
        yield rows
        byte_count, after = rows[-1][-2:]
        row_count = max(1, min(MOST_ROWS, PAGE_BYTES * len(rows) // byte_count))
