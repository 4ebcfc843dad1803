"""A worker's database session: one connection of its own, bounded in what it may do to others, and cancellable from outside."""

from contextlib import suppress
from typing import Any, Final

import psycopg
from django.db import connections

from eventsource_app.store.session import fetch_one, leave_pool, option

SESSION_SETTINGS: Final = """
SELECT set_config('statement_timeout', %s, false), set_config('idle_in_transaction_session_timeout', %s, false),
       set_config('lock_timeout', '5000', false), set_config('client_connection_check_interval', '5000', false)
"""


class WorkerSession:
    """Of the thread that opens it. A statement may take ``statement_seconds``, an idle transaction ``idle_seconds``."""

    def __init__(self, using: str, statement_seconds: float, idle_seconds: float) -> None:
        self._using = using
        self._settings = (f"{statement_seconds * 1000:.0f}", f"{idle_seconds * 1000:.0f}")
        self._driver: psycopg.Connection[Any] | None = None

    def begin(self) -> None:
        """Give the thread a connection of its own, outside any pool."""
        leave_pool(self._using)

    def open(self) -> None:
        """Bound what a new connection may do to the others: hang in a statement, or vanish with the row's lock."""
        connection = connections[self._using]
        connection.ensure_connection()
        if connection.connection is self._driver:
            return
        if option("SESSION_SETTINGS", True):
            fetch_one(self._using, SESSION_SETTINGS, self._settings)
        self._driver = connection.connection

    def close(self) -> None:
        """Close for good: a connection with settings of ours must not go back to a pool."""
        if self._driver is not None:
            self._driver.close()
            self._driver = None
        connections[self._using].close()

    def cancel(self) -> None:
        """Cancel the statement that the thread hangs in; for another thread."""
        driver = self._driver
        if driver is not None:
            with suppress(psycopg.Error, OSError):  # it has ended meanwhile, or the server is away
                driver.cancel_safe(timeout=1)
