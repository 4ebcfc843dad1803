"""Mistakes in the settings that would be found late, or never."""

from collections.abc import Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from eventsource_app.http.config import api_config
from eventsource_app.store.session import log_database

KNOWN_KEYS: Final = frozenset({
    "SUBSCRIPTIONS", "HEALTH", "MAX_EVENT_BYTES", "ERROR_CALLBACKS", "SHUTDOWN_TIMEOUT", "DRAIN_TIMEOUT",
    "TRACING", "PARTITION_ID", "NUM_PARTITIONS", "PREPARED_STATEMENTS", "WAKE_UPS", "LISTEN", "SESSION_SETTINGS",
    "PROBE_ADDRESS", "LEASE_SECONDS", "WEBHOOK",
    "POOL", "POOLER", "DATABASE", "API",
})  # fmt: skip

Apps = Sequence[AppConfig] | None


@checks.register
def check_pool(app_configs: Apps, **_: Any) -> list[checks.CheckMessage]:
    """E003: Django refuses persistent connections beside a pool, but only at the first query."""
    return [
        checks.Error(
            f"DATABASES[{alias!r}] has a pool and CONN_MAX_AGE={config['CONN_MAX_AGE']!r}; Django refuses them together.",
            hint="Set CONN_MAX_AGE to 0: the pool keeps the connections.",
            id="eventsource_app.E003",
        )
        for alias, config in settings.DATABASES.items()
        if config.get("OPTIONS", {}).get("pool") and config.get("CONN_MAX_AGE", 0) != 0
    ]


@checks.register
def check_setting_keys(app_configs: Apps, **_: Any) -> list[checks.CheckMessage]:
    """E004: a misspelt key would silently do nothing."""
    return [
        checks.Error(
            f"EVENTSOURCE has the unknown key {key!r}.",
            hint=f"Use one of {', '.join(sorted(KNOWN_KEYS))}.",
            id="eventsource_app.E004",
        )
        for key in sorted(set(getattr(settings, "EVENTSOURCE", {})) - KNOWN_KEYS)
    ]


@checks.register
def check_api(app_configs: Apps, **_: Any) -> list[checks.CheckMessage]:
    """E005: what the API is told must be possible."""
    try:
        api_config()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="eventsource_app.E005")]
    return []


@checks.register
def check_database(app_configs: Apps, **_: Any) -> list[checks.CheckMessage]:
    """E007: a log has a database, and that is PostgreSQL; elsewhere a migration would stop in the middle."""
    if log_database() not in connections:
        return [
            checks.Error(
                f"EVENTSOURCE['DATABASE'] is {log_database()!r}, which DATABASES does not have.",
                hint=f"Use one of {', '.join(connections)}.",
                id="eventsource_app.E007",
            )
        ]
    return [
        checks.Error(
            f"Database {alias!r} is {connections[alias].vendor}, and the log's tables would be made there.",
            hint="Use PostgreSQL, or keep the log on an alias that is: EVENTSOURCE['DATABASE'] and a LogRouter "
            "(eventsource_app.store.routing) in DATABASE_ROUTERS.",
            id="eventsource_app.E007",
        )
        for alias in connections
        if connections[alias].vendor != "postgresql" and router.allow_migrate(alias, "eventsource_app")
    ]


@checks.register
def check_time_zones(app_configs: Apps, **_: Any) -> list[checks.CheckMessage]:
    """W001: the log keeps UTC either way, but what is told of rows would be local and would not say so."""
    if settings.USE_TZ:
        return []
    return [
        checks.Warning(
            f"USE_TZ is off, so times in /health, in commands and in the admin are of {settings.TIME_ZONE} and carry no zone.",
            hint="Set USE_TZ = True.",
            id="eventsource_app.W001",
        )
    ]
