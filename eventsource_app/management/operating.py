"""What the commands share: a database that has a log, who asks, sentences instead of tracebacks, and a question before harm."""

import getpass
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections
from psycopg.errors import InsufficientPrivilege, ObjectNotInPrerequisiteState, ReadOnlySqlTransaction

from eventsource_app.store.session import fetch_all, log_database
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
REFUSALS: Final[dict[type[Exception], str]] = {
    ReadOnlySqlTransaction: "Database {alias!r} takes no writes ({reason}): it is a standby, or closed for writing; connect to the "
    "primary.",
    InsufficientPrivilege: "The role of database {alias!r} may not do this ({reason}); run it as the role that owns the tables.",
    ObjectNotInPrerequisiteState: "The log of database {alias!r} cannot be read ({reason}); manage.py check --database {alias} "
    "says what to change.",
}
# What moves a terminal's cursor, colours or reorders what follows; line ends are seen to by the callers.
CONTROLS: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class DatabaseCommand(BaseCommand):
    """A command for one database of settings, named by ``--database``."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", default=log_database(), help="the database alias of the log")

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.check_database(options["database"])
        return super().execute(*args, **options)

    def check_database(self, alias: str) -> None:
        """Refuse an alias that settings do not have."""
        if alias not in connections:
            raise CommandError(
                f"There is no database {alias!r} in DATABASES; there are: {', '.join(connections)}.",
                returncode=USAGE,
            )


class LogCommand(DatabaseCommand):
    """A command for a database that has a log."""

    def check_database(self, alias: str) -> None:
        """Refuse one without the log's tables, too."""
        super().check_database(alias)
        if connections[alias].vendor != "postgresql":
            raise CommandError(
                f"Database {alias!r} is not PostgreSQL, so it has no log; name another with --database."
            )
        for (table,) in fetch_all(alias, MISSING):
            raise CommandError(
                f"Database {alias!r} has no table {table}; run manage.py migrate --database {alias}, "
                "or name another with --database."
            )

    def execute(self, *args: Any, **options: Any) -> str | None:
        with _database_sentences(options["database"]):
            return super().execute(*args, **options)


class OperatorCommand(LogCommand):
    """A command that changes something in somebody's name: ``options["who"]``."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--who", default=None, help="who does this, for the record (default: the system's user and host)"
        )

    def execute(self, *args: Any, **options: Any) -> str | None:
        who = (options["who"] or f"{system_user()}@{socket.gethostname()}")[:200]
        with _sentences():
            return super().execute(*args, **{**options, "who": who})


def printable(text: str) -> str:
    """Return a text of others (an error's, an event's) so that a terminal shows it and does not obey it."""
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """The same on one line: nothing in it passes for the next one."""
    return printable(" ".join(text.splitlines()))


def system_user() -> str:
    """Return the system's name for who runs this; "unknown" where there is none, as for a container's number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@contextmanager
def _database_sentences(alias: str) -> Iterator[None]:
    """Turn the feed's refusal, of a standby or of another isolation, and that of a write or of a right into a command's."""
    try:
        yield
    except DatabaseError as error:
        sentence = next((REFUSALS[cause] for cause in REFUSALS if isinstance(error.__cause__, cause)), None)
        if sentence is None:
            raise
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CommandError(sentence.format(alias=alias, reason=reason)) from error


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn a verb's refusal into a command's: status 2 for a name or number that cannot be, else 1."""
    try:
        yield
    except (UnknownSubscriptionError, UnknownLetterError, ImpossibleNumberError) as error:
        raise CommandError(one_line(str(error)), returncode=USAGE) from error
    except ControlError as error:
        raise CommandError(one_line(str(error))) from error


def confirm(name: str, warning: str, *, agreed: bool) -> None:
    """Have the name typed on a terminal; elsewhere nothing but ``--yes`` will do."""
    if agreed:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{warning} Say --yes to do it without being asked.", returncode=USAGE)
    if input(f"{warning}\nType {name} to go on: ").strip() != name:
        raise CommandError("Nothing was changed.")
