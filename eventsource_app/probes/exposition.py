"""``/metrics``: what the processes counted and what the rows say, in OpenMetrics text."""

from collections.abc import Iterable
from typing import Final

from django.db import DatabaseError, InterfaceError
from prometheus_client import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

from eventsource_app.observability.metrics import PROCESS_FAMILIES, collect_process_metrics
from eventsource_app.observability.pool_metrics import publish_pools
from eventsource_app.probes.bounded import DatabaseHangsError, ask
from eventsource_app.probes.row_metrics import ROW_FAMILIES, row_metrics
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.health import HealthFacts, health_facts

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
# Every metric that there is; alert rules and dashboards may name no other.
FAMILIES: Final = (*PROCESS_FAMILIES, *ROW_FAMILIES)


class _Scrape:
    """What ``generate_latest`` takes for a registry: metrics that are collected once."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def process_metrics_text() -> bytes:
    """Return what this process (or the gunicorn workers together) counted; asks no database."""
    publish_pools()
    return _text(collect_process_metrics())


def metrics_text(using: str | None = None) -> bytes:
    """Return all metrics for one query; where the database does not answer in time, those of the rows have no values."""
    using = using or log_database()
    publish_pools()
    return _text((*collect_process_metrics(), *row_metrics(_facts(using))))


def _text(metrics: Iterable[Metric]) -> bytes:
    text: bytes = generate_latest(_Scrape(metrics))  # type: ignore[no-untyped-call]
    return text


def _facts(using: str) -> HealthFacts | None:
    try:
        return ask(lambda: health_facts(using), using)
    except (DatabaseHangsError, DatabaseError, InterfaceError):
        return None
