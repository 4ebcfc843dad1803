"""May traffic come to this process? The database answers, and it has the tables this code expects."""

from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.health.queries import SHORT
from eventsource_app.subscriptions.health.reports import ReadinessReport

SHOWN_MIGRATIONS = 10

_migrated: set[str] = set()


def readiness_report(using: str | None = None) -> ReadinessReport:
    """Return whether a web process can serve: at most two queries, and one once the migrations were seen.

    Workers do not count: an order can be taken without them. Raises Django's ``DatabaseError``.
    """
    using = using or log_database()
    missing = missing_migrations(using)
    if not missing:
        return ReadinessReport(
            ready=True,
            reason="the database answers and its migrations are applied",
            details={"database": "ok", "migrations": "applied"},
        )
    return ReadinessReport(
        ready=False,
        reason=f"{len(missing)} migrations are not applied; run manage.py migrate",
        details={"database": "ok", "migrations": missing[:SHOWN_MIGRATIONS]},
    )


def missing_migrations(using: str) -> list[str]:
    """Return the migrations that are not applied yet; once there are none, only ask the database for an answer."""
    connection = connections[using]
    if using in _migrated:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1" if connection.in_atomic_block else SHORT + "SELECT 1")
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        _migrated.add(using)
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
