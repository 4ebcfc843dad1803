"""What the commands that read or write the whole log share: a database that has one, and an end by a signal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from django.core.management.base import CommandError
from django.db import connections

from eventsource_app.management.operating import USAGE
from eventsource_app.store.session import fetch_all

MISSING: Final = (
    "SELECT name FROM unnest(ARRAY['eventsource_app_event', 'eventsource_app_checkpoint']) AS name "
    "WHERE to_regclass(name) IS NULL"
)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, by the way that SIGINT takes by itself."""


def check_database(alias: str) -> None:
    """Refuse an alias that settings do not have, or whose database has no log."""
    if alias not in connections:
        raise CommandError(
            f"There is no database {alias!r} in DATABASES; there are: {', '.join(connections)}.",
            returncode=USAGE,
        )
    if connections[alias].vendor != "postgresql":
        raise CommandError(
            f"Database {alias!r} is not PostgreSQL, so it has no log; name another with --database."
        )
    for (table,) in fetch_all(alias, MISSING):
        raise CommandError(
            f"Database {alias!r} has no table {table}; run manage.py migrate --database {alias}, "
            "or name another with --database."
        )


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """While inside, SIGTERM raises as SIGINT does, so that what is unfinished is cleared away. Nothing off the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupted(interrupt: KeyboardInterrupt, how_far: str) -> CommandError:
    """Return the sentence for an end by a signal, with the signal's exit status."""
    number = signal.SIGTERM if isinstance(interrupt, TerminatedError) else signal.SIGINT
    return CommandError(f"Interrupted: {how_far}.", returncode=128 + number)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise TerminatedError
