"""Mistakes in the settings that would be found late, or never."""

from collections.abc import Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from eventsource_app.http.config import api_config

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
