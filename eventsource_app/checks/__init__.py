"""System checks, registered by importing this package."""

from eventsource_app.checks.configuration import (
    KNOWN_KEYS,
    check_api,
    check_database,
    check_pool,
    check_setting_keys,
    check_time_zones,
)
from eventsource_app.checks.production import check_production
from eventsource_app.checks.promises import check_append_only, check_isolation, check_sequence

__all__ = [
    "KNOWN_KEYS",
    "check_api",
    "check_append_only",
    "check_database",
    "check_isolation",
    "check_pool",
    "check_production",
    "check_sequence",
    "check_setting_keys",
    "check_time_zones",
]
