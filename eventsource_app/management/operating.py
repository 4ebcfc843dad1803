"""What the operators' commands share: a database that has a log, who asks, sentences instead of tracebacks, and a question before harm."""

import getpass
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from eventsource_app.store.session import fetch_all
from eventsource_app.subscriptions.control import (
    ControlError,
    ImpossibleNumberError,
    UnknownSubscriptionError,
)
from eventsource_app.subscriptions.letters import UnknownLetterError

USAGE = 2
MISSING: Final = (
    "SELECT name FROM unnest(ARRAY['eventsource_app_event', 'eventsource_app_checkpoint']) AS name "
    "WHERE to_regclass(name) IS NULL"
)


def check_alias(alias: str) -> None:
    """Refuse a database that settings do not have."""
    if alias not in connections:
        raise CommandError(
            f"There is no database {alias!r} in DATABASES; there are: {', '.join(connections)}.",
            returncode=USAGE,
        )


def check_database(alias: str) -> None:
    """Refuse an alias that settings do not have, or whose database has no log."""
    check_alias(alias)
    if connections[alias].vendor != "postgresql":
        raise CommandError(
            f"Database {alias!r} is not PostgreSQL, so it has no log; name another with --database."
        )
    for (table,) in fetch_all(alias, MISSING):
        raise CommandError(
            f"Database {alias!r} has no table {table}; run manage.py migrate --database {alias}, "
            "or name another with --database."
        )


def add_who(parser: CommandParser) -> None:
    parser.add_argument(
        "--who", default=None, help="who does this, for the record (default: the system's user and host)"
    )


def system_user() -> str:
    """Return the system's name for who runs this; "unknown" where there is none, as for a container's number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def who_asks(given: str | None) -> str:
    """Return the name to keep with what is done."""
    return (given or f"{system_user()}@{socket.gethostname()}")[:200]


@contextmanager
def sentences() -> Iterator[None]:
    """Turn a verb's refusal into a command's: status 2 for a name or number that cannot be, else 1."""
    try:
        yield
    except (UnknownSubscriptionError, UnknownLetterError, ImpossibleNumberError) as error:
        raise CommandError(str(error), returncode=USAGE) from error
    except ControlError as error:
        raise CommandError(str(error)) from error


def confirm(name: str, warning: str, *, agreed: bool) -> None:
    """Have the name typed on a terminal; elsewhere nothing but ``--yes`` will do."""
    if agreed:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{warning} Say --yes to do it without being asked.", returncode=USAGE)
    if input(f"{warning}\nType {name} to go on: ").strip() != name:
        raise CommandError("Nothing was changed.")
