"""What the commands that read or write the whole log share: a database that has one."""

from typing import Final

from django.core.management.base import CommandError
from django.db import connections

from eventsource_app.management.operating import USAGE
from eventsource_app.store.session import fetch_all

MISSING: Final = (
    "SELECT name FROM unnest(ARRAY['eventsource_app_event', 'eventsource_app_checkpoint']) AS name "
    "WHERE to_regclass(name) IS NULL"
)


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
