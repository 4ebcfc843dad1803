"""What the database server says about itself, and about the log in it: read in a few statements, frozen."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor

from eventsource_app.checks.promises import sequence_cache, unguarded_verbs

# current_setting(name, true) is NULL for what this version does not know; pg_settings has timeouts in milliseconds.
SERVER: Final = """
SELECT current_setting('server_version'), current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true), '0')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       pg_is_in_recovery(),
       role.rolsuper, role.rolcreaterole OR role.rolcreatedb OR role.rolbypassrls OR role.rolreplication, current_user,
       (SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'),
       (SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout'),
       (SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'),
       coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), ''),
       current_setting('archive_mode'), current_setting('wal_level'), archiver.archived_count, archiver.failed_count,
       clock_timestamp() - archiver.last_archived_time,
       coalesce(archiver.last_failed_time > coalesce(archiver.last_archived_time, '-infinity'), false),
       (SELECT count(*) FROM pg_stat_replication),
       current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on', current_setting('synchronous_commit'),
       coalesce(current_setting('eventsource.allow_truncate', true), '') = 'on'
         OR EXISTS (SELECT FROM pg_db_role_setting WHERE array_to_string(setconfig, ',') LIKE '%eventsource.allow_truncate=on%')
  FROM pg_stat_archiver AS archiver, pg_roles AS role WHERE role.rolname = current_user
"""
VALID_INDICES: Final = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
 WHERE i.indisvalid AND i.indisready AND c.relname = ANY(%s)
"""
# The newest events tell what streams are like now; the whole log would take minutes to look through.
RECENT_EVENTS: Final = 10_000
STREAMS: Final = f"""
SELECT coalesce((SELECT max(aggregate_version) FROM (
         SELECT aggregate_version FROM eventsource_app_event ORDER BY position DESC LIMIT {RECENT_EVENTS}) AS recent), 0),
       EXISTS (SELECT FROM eventsource_app_snapshot)
"""  # noqa: S608 - the only value is a constant


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One moment of the server, as the application's own role and session see it; timeouts in milliseconds, 0 for none."""

    version: str
    max_connections: int
    reserved_connections: int
    connections_in_use: int
    is_standby: bool
    is_superuser: bool
    has_other_powers: bool
    role: str
    statement_timeout: int
    lock_timeout: int
    idle_in_transaction_session_timeout: int
    tls_version: str
    archive_mode: str
    wal_level: str
    archived_count: int
    archive_failed_count: int
    archived_ago: timedelta | None
    archiving_fails: bool
    standby_count: int
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    allows_truncate: bool


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The log and its tables in that database."""

    unapplied_migrations: tuple[str, ...]
    missing_indices: tuple[str, ...]
    index_count: int
    unguarded_verbs: tuple[str, ...]
    sequence_cache: int | None
    longest_recent_stream: int
    has_snapshots: bool


def server_facts(using: str) -> ServerFacts:
    """Ask the server; raises Django's ``DatabaseError`` when it does not answer."""
    facts = ServerFacts(*_row(using, SERVER))
    # The client's side of TLS counts: behind a pooler the server sees another connection than ours.
    encrypted = connections[using].connection.pgconn.ssl_in_use
    return replace(facts, tls_version=(facts.tls_version or "TLS") if encrypted else "")


def log_facts(using: str) -> LogFacts:
    """Ask about the log; before the first migration everything is missing."""
    unapplied = _unapplied_migrations(using)
    wanted = _index_names(using)
    with connections[using].cursor() as cursor:
        cursor.execute(VALID_INDICES, [sorted(wanted)])
        valid = {name for (name,) in cursor.fetchall()}
    migrated = not any(name.startswith("eventsource_app.") for name in unapplied)
    longest, has_snapshots = _row(using, STREAMS) if migrated else (0, False)
    return LogFacts(
        unapplied_migrations=unapplied,
        missing_indices=tuple(sorted(wanted - valid)),
        index_count=len(wanted),
        unguarded_verbs=tuple(unguarded_verbs(using)),
        sequence_cache=sequence_cache(using),
        longest_recent_stream=longest,
        has_snapshots=has_snapshots,
    )


def _row(using: str, sql: str) -> tuple[Any, ...]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def _unapplied_migrations(using: str) -> tuple[str, ...]:
    executor = MigrationExecutor(connections[using])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return tuple(
        f"{migration.app_label}.{migration.name}"
        for migration, _ in plan
        if router.allow_migrate(using, migration.app_label)
    )


def _index_names(using: str) -> set[str]:
    """The indices and unique constraints that the models declare by name."""
    return {
        named.name
        for model in apps.get_models()
        if model._meta.managed and router.allow_migrate_model(using, model)
        for named in (*model._meta.indexes, *_unique_constraints(model))
    }


def _unique_constraints(model: Any) -> list[Any]:
    return [found for found in model._meta.constraints if hasattr(found, "nulls_distinct")]
