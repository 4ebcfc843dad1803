"""The connection pool at a process's start: told in the log, and never shared by a fork."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.db import connections

logger = logging.getLogger("eventsource.pool")
SHOWN: Final = ("instance_count", "pool_size", "max_overflow", "total_per_instance", "processes")


def log_pool(pool: Mapping[str, Any]) -> None:
    """Write the line that the tutorial has; an empty plan (a project without one) writes nothing."""
    if pool:
        logger.info(
            "Connection pool configuration", extra={name: pool[name] for name in SHOWN if name in pool}
        )


def forget_connections() -> None:
    """Close this process's connections and pools, so that a fork shares no socket; they open again when needed."""
    if not settings.configured:  # the application is not loaded here, so nothing can be open
        return
    for connection in connections.all(initialized_only=True):
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()
