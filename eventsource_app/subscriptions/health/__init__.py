"""Health, told from rows: what the probes, the manager and the desk answer."""

from eventsource_app.subscriptions.health.facts import HealthFacts, PartitionFacts
from eventsource_app.subscriptions.health.queries import health_facts, health_report
from eventsource_app.subscriptions.health.readiness import missing_migrations, readiness_report
from eventsource_app.subscriptions.health.reports import (
    HealthReport,
    HealthStatus,
    LivenessReport,
    ReadinessReport,
    SubscriptionHealth,
)
from eventsource_app.subscriptions.health.rules import assess

__all__ = [
    "HealthFacts",
    "HealthReport",
    "HealthStatus",
    "LivenessReport",
    "PartitionFacts",
    "ReadinessReport",
    "SubscriptionHealth",
    "assess",
    "health_facts",
    "health_report",
    "missing_migrations",
    "readiness_report",
]
