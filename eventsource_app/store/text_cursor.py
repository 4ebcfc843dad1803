"""Cursors for rows that a decoder reads: ids and JSON come as the text that the server sends, no object is made first."""

import psycopg
from psycopg import abc
from psycopg.types.string import TextLoader

from eventsource_app.store.session import Row


def _as_text(context: abc.AdaptContext) -> None:
    """Make a cursor return the text of ids and of JSON."""
    for type_name in ("uuid", "json", "jsonb"):
        context.adapters.register_loader(type_name, TextLoader)


class TextCursor(psycopg.Cursor[Row]):
    """The driver's cursor, with values as text."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        super().__init__(connection)
        _as_text(self)


class RawTextCursor(psycopg.RawCursor[Row]):
    """The driver's cursor for ``$1``, ``$2``, …, with values as text."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        super().__init__(connection)
        _as_text(self)
