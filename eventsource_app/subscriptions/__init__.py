"""Subscriptions' front door."""

from eventsource_app.subscriptions.config import (
    CheckpointStrategy,
    ConfigurationError,
    HealthCheckConfig,
    SubscriptionConfig,
)
from eventsource_app.subscriptions.errors import (
    ErrorCategory,
    ErrorClassification,
    ErrorSeverity,
    PermanentError,
    classify,
    classify_as,
)
from eventsource_app.subscriptions.manager import SubscriptionManager
from eventsource_app.subscriptions.partitions import get_partition_for_aggregate
from eventsource_app.subscriptions.projection import Projection, handles
from eventsource_app.subscriptions.registry import declared_subscriptions, subscription
from eventsource_app.subscriptions.reporting import ErrorInfo
from eventsource_app.subscriptions.shutdown import ShutdownPhase, ShutdownResult

__all__ = [
    "CheckpointStrategy",
    "ConfigurationError",
    "ErrorCategory",
    "ErrorClassification",
    "ErrorInfo",
    "ErrorSeverity",
    "HealthCheckConfig",
    "PermanentError",
    "Projection",
    "ShutdownPhase",
    "ShutdownResult",
    "SubscriptionConfig",
    "SubscriptionManager",
    "classify",
    "classify_as",
    "declared_subscriptions",
    "get_partition_for_aggregate",
    "handles",
    "subscription",
]
