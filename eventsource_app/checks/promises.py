"""What the log's promises need from the database.

These are tagged ``database``: they run with ``manage.py check --database default`` and before every ``migrate``.
"""

from collections.abc import Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.core import checks
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

LOG: Final = "eventsource_app_event"
SEQUENCE: Final = "eventsource_app_event_position_seq"
GUARDING: Final = ("eventsource_app", "0002_append_only_log")
CACHE_OF_SEQUENCE: Final = "SELECT seqcache FROM pg_sequence WHERE seqrelid = to_regclass(%s)"
# Bits of pg_trigger.tgtype; a trigger that is disabled, or enabled for replicas only, guards nothing here.
BEFORE, DELETE, UPDATE, TRUNCATE = 2, 8, 16, 32
GUARDS: Final = f"""
SELECT coalesce(bit_or(tgtype), 0) FROM pg_trigger
 WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgtype & {BEFORE} <> 0
   AND tgname LIKE 'eventsource_append_only%%'
"""  # noqa: S608 - the only value is a constant

Apps = Sequence[AppConfig] | None


@checks.register(checks.Tags.database)
def check_sequence(
    app_configs: Apps, databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """E001: positions must be drawn one by one, or a reader passes the cached ones before they are used."""
    found: list[checks.CheckMessage] = []
    for alias in _postgresql(databases):
        cache = sequence_cache(alias)
        if cache not in (None, 1):  # None: not migrated yet
            found.append(checks.Error(
                f"The sequence {SEQUENCE} of database {alias!r} has CACHE {cache}, so readers would lose events.",
                hint=f"ALTER SEQUENCE {SEQUENCE} CACHE 1;", id="eventsource_app.E001",
            ))  # fmt: skip
    return found


@checks.register(checks.Tags.database)
def check_append_only(
    app_configs: Apps, databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """E002: the database itself must refuse to change events."""
    found: list[checks.CheckMessage] = []
    for alias in _postgresql(databases):
        if _value(alias, "SELECT to_regclass(%s)::text", LOG) is None:
            continue
        # An error would stop the very migrate that makes them, and the first one may have been stopped before it did.
        if GUARDING not in MigrationRecorder(connections[alias]).applied_migrations():
            continue
        open_to = unguarded_verbs(alias)
        if open_to:
            found.append(checks.Error(
                f"No enabled trigger of {LOG} in database {alias!r} refuses {', '.join(open_to)}.",
                hint="Enable the triggers eventsource_append_only and eventsource_append_only_truncate, or make "
                     "them again as migration eventsource_app.0002 does.", id="eventsource_app.E002",
            ))  # fmt: skip
    return found


@checks.register(checks.Tags.database)
def check_isolation(
    app_configs: Apps, databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """E006: the feed reads at READ COMMITTED only, so nothing would be delivered, verified or exported."""
    found: list[checks.CheckMessage] = []
    for alias in _postgresql(databases):
        level = _value(alias, "SELECT current_setting('default_transaction_isolation')")
        if level != "read committed":
            found.append(checks.Error(
                f"Database {alias!r} has default_transaction_isolation {level!r} for its user, where the log cannot be read.",
                hint="Set it to 'read committed' for the role or in OPTIONS, and let transactions that need more ask for it.",
                id="eventsource_app.E006",
            ))  # fmt: skip
    return found


def sequence_cache(alias: str) -> int | None:
    """Return the sequence's CACHE; None where it is not migrated yet."""
    cache: int | None = _value(alias, CACHE_OF_SEQUENCE, SEQUENCE)
    return cache


def unguarded_verbs(alias: str) -> list[str]:
    """Return the verbs that no enabled trigger of the log refuses."""
    guarded = _value(alias, GUARDS, LOG)
    verbs = (("UPDATE", UPDATE), ("DELETE", DELETE), ("TRUNCATE", TRUNCATE))
    return [name for name, bit in verbs if not guarded & bit]


def _postgresql(databases: Sequence[str] | None) -> list[str]:
    return [alias for alias in databases or () if connections[alias].vendor == "postgresql"]


def _value(alias: str, sql: str, *params: Any) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params)
        row = cursor.fetchone()
    return row[0] if row else None
