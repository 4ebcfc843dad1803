"""EVENTSOURCE: what the engine is told about this deployment."""

from typing import Any

from settings.api import api
from settings.database import plan_from
from settings.env import Environment


def eventsource(env: Environment) -> dict[str, Any]:
    """Return the EVENTSOURCE setting.

    SUBSCRIPTIONS overrides the configuration of a subscription by name, as {"orders": {"batch_size": 500}};
    HEALTH takes HealthCheckConfig's fields; durations are in seconds.
    """
    return {
        "SUBSCRIPTIONS": {},
        "HEALTH": {
            "max_error_rate_per_minute": 10,
            "max_errors_warning": 50,
            "max_errors_critical": 200,
            "max_lag_events_warning": 5_000,
            "max_lag_events_critical": 50_000,
            "max_dead_letters_warning": 10,
            "max_dead_letters_critical": 100,
            "max_frozen_seconds": 60,
        },
        "MAX_EVENT_BYTES": 1_048_576,
        "ERROR_CALLBACKS": [],
        "SHUTDOWN_TIMEOUT": env.shutdown_timeout_seconds,
        "DRAIN_TIMEOUT": env.drain_timeout_seconds,
        "PROBE_ADDRESS": env.bind_address,
        "PARTITION_ID": env.partition_id,
        "NUM_PARTITIONS": env.num_partitions,
        "POOL": plan_from(env).to_dict(),
        **through_pooler(env),
        "API": api(env),
        "TRACING": {
            "endpoint": env.otlp_endpoint,
            "service_name": env.service_name,
            "service_version": env.service_version,
        },
    }


def through_pooler(env: Environment) -> dict[str, Any]:
    """What the engine does without behind a pooler in transaction mode, which gives each transaction another session."""
    if env.db_pooler != "transaction":
        return {}
    return {"POOLER": env.db_pooler, "LISTEN": False, "PREPARED_STATEMENTS": False, "SESSION_SETTINGS": False}
