"""Counting round trips to the server, in the protocol itself."""

import tempfile
from collections.abc import Callable

from django.db import connection


def round_trips(action: Callable[[], object]) -> int:
    """Count how often the server said that it is ready for the next question."""
    connection.ensure_connection()
    with tempfile.TemporaryFile("w+") as trace:
        connection.connection.pgconn.trace(trace.fileno())
        try:
            action()
        finally:
            connection.connection.pgconn.untrace()
        trace.seek(0)
        return trace.read().count("\tReadyForQuery\t")
