"""The tutorial's complete production example on this engine: start, one order, health, wait, stop."""

import logging
import time
from collections.abc import Callable
from uuid import uuid4

from eventsource_app.aggregates import AggregateRepository
from eventsource_app.store import EventStore
from eventsource_app.subscriptions import (
    ErrorInfo,
    ErrorSeverity,
    HealthCheckConfig,
    ShutdownResult,
    SubscriptionManager,
)
from orders.aggregate import OrderAggregate
from projections.customer_summary import CustomerSummaryProjection
from projections.order_summary import OrderSummaryProjection
from projections.subscriptions import IN_LARGE_BATCHES

logger = logging.getLogger("eventsource.demo")


def log_all_errors(error_info: ErrorInfo) -> None:
    """Note every error, beside the engine's own "Subscription error" line."""
    logger.error(
        "Demo saw an error",
        extra={"subscription": error_info.subscription_name, "error_message": error_info.error_message},
    )


def alert_critical_errors(error_info: ErrorInfo) -> None:
    """Where a pager would be called."""
    logger.critical("Demo would page someone", extra={"subscription": error_info.subscription_name})


class ProductionApp:
    """Everything that the tutorial's application does, in its order."""

    def __init__(self, shutdown_timeout: float, drain_timeout: float) -> None:
        event_store = EventStore(enable_tracing=False)
        self.manager = SubscriptionManager(
            event_store=event_store,
            shutdown_timeout=shutdown_timeout,
            drain_timeout=drain_timeout,
            health_check_config=HealthCheckConfig(max_error_rate_per_minute=10.0),
            enable_tracing=False,
        )
        self.manager.subscribe(OrderSummaryProjection(), config=IN_LARGE_BATCHES, name="orders")
        self.manager.subscribe(CustomerSummaryProjection(), config=IN_LARGE_BATCHES, name="customers")
        self.manager.on_error(log_all_errors)
        self.manager.on_error_severity(ErrorSeverity.CRITICAL, alert_critical_errors)
        self.repository = AggregateRepository(
            event_store=event_store,
            aggregate_factory=OrderAggregate,
            aggregate_type="Order",
            enable_tracing=False,
        )

    def run(self, seconds: float, wait: Callable[[float], object] = time.sleep) -> ShutdownResult:
        """Start, place an order, log the health, wait, and stop, whatever happens in between."""
        logger.info("Starting application")
        try:
            self.manager.start()
            logger.info("Application started")
            self._place_an_order()
            self._log_health()
            logger.info("Application running", extra={"seconds": seconds})
            wait(seconds)
        finally:
            result = self._stop()
        return result

    def _place_an_order(self) -> None:
        order = self.repository.create_new(uuid4())
        order.create(customer_id="cust-prod-001", total=499.99)
        self.repository.save(order)
        logger.info(
            "Order created", extra={"order_id": str(order.aggregate_id), "total": str(order.state.total)}
        )

    def _log_health(self) -> None:
        health = self.manager.health_check().to_dict()
        logger.info("Health check", extra={"status": health["status"]})

    def _stop(self) -> ShutdownResult:
        logger.info("Stopping application")
        result = self.manager.stop()
        logger.info(
            "Manager stopped",
            extra={
                "phase": result.phase.value,
                "duration_seconds": result.duration_seconds,
                "forced": result.forced,
                "events_in_flight": result.events_in_flight,
                "checkpoints_saved": result.checkpoints_saved,
                "reason": result.reason,
            },
        )
        logger.info("Application stopped")
        return result
