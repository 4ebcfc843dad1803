"""The subscription manager: owns the loops of one worker process, from start to a graceful end."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connections

from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions import checkpoints, control, dead_letters, heartbeats
from eventsource_app.subscriptions.callbacks import load_callbacks
from eventsource_app.subscriptions.checkpoints import Lease
from eventsource_app.subscriptions.circuit_breaker import BreakerState
from eventsource_app.subscriptions.config import ConfigurationError, HealthCheckConfig, SubscriptionConfig
from eventsource_app.subscriptions.control import StateChange
from eventsource_app.subscriptions.enrolment import SubscriptionRefusedError, enrol
from eventsource_app.subscriptions.errors import (
    ErrorCallback,
    ErrorCallbacks,
    ErrorCategory,
    ErrorClassification,
    ErrorSeverity,
    ProcessingTimeoutError,
    classify,
    error_info,
    log_critical,
    log_error,
)
from eventsource_app.subscriptions.health import (
    HealthReport,
    LivenessReport,
    ReadinessReport,
    health_report,
    readiness_report,
)
from eventsource_app.subscriptions.ownership import Ownership
from eventsource_app.subscriptions.partitions import Pin
from eventsource_app.subscriptions.projection import Projection
from eventsource_app.subscriptions.reader import Reader
from eventsource_app.subscriptions.registry import Subscription, configured
from eventsource_app.subscriptions.shutdown import ShutdownPhase, ShutdownResult, StopRequest
from eventsource_app.subscriptions.signals import StopSignals
from eventsource_app.subscriptions.worker import Worker

logger = logging.getLogger("eventsource.manager")
NOT_STARTED = "manager not initialized"
POLL_SECONDS = 0.05
ENROL_AGAIN_SECONDS = 5.0


class SubscriptionManager:
    """Runs subscriptions in this process; any number of processes on any number of hosts share them by leases.

    ``shutdown_timeout`` bounds the whole stop and ``drain_timeout`` the wait for running batches, in seconds.
    """

    def __init__(
        self,
        event_store: EventStore | None = None,
        shutdown_timeout: float = 60,
        drain_timeout: float = 30,
        health_check_config: HealthCheckConfig | None = None,
        enable_tracing: bool = True,
        *,
        pin: Pin | None = None,
        lease_seconds: float = checkpoints.LEASE_SECONDS,
        heartbeat_file: Path | None = None,
    ) -> None:
        self.event_store = event_store or EventStore()
        self.health_check_config = health_check_config or HealthCheckConfig()
        self.enable_tracing = enable_tracing
        self.worker_id = heartbeats.new_worker_id()
        self._using = self.event_store.using
        self._shutdown_timeout = shutdown_timeout
        self._drain_timeout = min(drain_timeout, shutdown_timeout)
        self._pin = pin
        self._lease_seconds = lease_seconds
        self._heartbeat_file = heartbeat_file
        self._subscriptions: dict[str, Subscription] = {}
        self._refused: dict[str, str] = {}
        self._callbacks = ErrorCallbacks()
        self._callbacks.on_error(log_error)
        self._callbacks.on_severity(ErrorSeverity.CRITICAL, log_critical)
        for callback in load_callbacks():
            self._callbacks.on_error(callback)
        self._stop = StopRequest()
        self._phase = ShutdownPhase.STOPPED
        self._started_at: float | None = None
        self._next_enrolment = 0.0
        self._ownership = self._new_ownership()
        self._reader = Reader(self.event_store, self._stop, self._ownership)

    def subscribe(
        self,
        projection: Projection | type[Projection],
        config: SubscriptionConfig | None = None,
        name: str | None = None,
    ) -> None:
        """Have a projection follow the log under a name (its class's name by default), from ``start()`` on."""
        instance = projection() if isinstance(projection, type) else projection
        name = name or type(instance).__name__
        if name in self._subscriptions:
            raise ConfigurationError(f"Subscription {name!r} is there already; give this one another name.")
        self._subscriptions[name] = Subscription(
            name, instance, configured(name, config or SubscriptionConfig())
        )
        if self._started_at is not None:
            self._enrol(self._subscriptions[name])

    def unsubscribe(self, name: str) -> None:
        """Stop following; the checkpoint stays for whoever subscribes next."""
        self._subscriptions.pop(name, None)
        self._refused.pop(name, None)
        for worker in self._ownership.owned(name):
            worker.leave()

    def start(self) -> None:
        """Start the loops and return; what may not run is refused with a log line and makes the process not ready."""
        if self._started_at is not None and not self._stop:
            raise ConfigurationError("The subscription manager runs already; stop it first.")
        self._stop = StopRequest()
        self._refused.clear()
        for subscription in self._subscriptions.values():
            self._enrol(subscription)
        self._next_enrolment = time.monotonic() + ENROL_AGAIN_SECONDS
        self._started_at = time.monotonic()
        self._phase = ShutdownPhase.RUNNING
        self._ownership = self._new_ownership()
        self._reader = Reader(self.event_store, self._stop, self._ownership)
        self._ownership.chores()
        self._reader.start()
        logger.info(
            "Subscriptions started",
            extra={"subscriptions": sorted(self._subscriptions), "worker_id": self.worker_id},
        )

    def stop(self, reason: str = "stop() was called") -> ShutdownResult:
        """Stop gracefully: no more reading, running batches to their end, leases given back."""
        started = time.monotonic()
        self.request_shutdown(reason)
        self._phase = ShutdownPhase.STOPPING
        workers = list(self._ownership.workers)
        in_flight = sum(worker.events_in_flight for worker in workers)
        self._reader.wake()
        for worker in workers:
            worker.lane.wake()
        self._phase = ShutdownPhase.DRAINING
        self._join(workers, started + self._drain_timeout)
        for worker in workers:
            if worker.is_alive:
                worker.interrupt()
        self._phase = ShutdownPhase.CHECKPOINTING
        self._join(workers, started + self._shutdown_timeout)
        forced = any(worker.is_alive for worker in workers)
        self._reader.join(max(0.1, started + self._shutdown_timeout - time.monotonic()))
        self._leave()
        self._phase = ShutdownPhase.FORCED if forced else ShutdownPhase.STOPPED
        result = ShutdownResult(
            phase=self._phase,
            duration_seconds=time.monotonic() - started,
            forced=forced,
            events_in_flight=in_flight,
            checkpoints_saved=sum(worker.released for worker in workers),
            reason=self._stop.reason,
        )
        self._started_at = None
        logger.info("Shutdown complete", extra=result.to_dict())
        return result

    def run_until_shutdown(self) -> ShutdownResult:
        """Start, wait for a signal or ``request_shutdown()``, stop. Off the main thread no signals are installed."""
        return self._run_until(lambda: False)

    def run_until_caught_up(self) -> ShutdownResult:
        """Start, wait until every subscription is where the log ended at the start, stop."""
        target = self.event_store.head_position()
        return self._run_until(lambda: self._is_caught_up(target))

    def request_shutdown(self, reason: str = "requested") -> None:
        """Ask for a graceful stop; may be called from any thread, and more than once."""
        self._stop.ask(reason)

    def pause(self, name: str, who: str = "manager", reason: str = "") -> StateChange:
        """Pause a subscription wherever it runs; it stays paused across restarts."""
        return control.pause(name, who, reason, using=self._using)

    def resume(self, name: str, who: str = "manager") -> StateChange:
        """Have a paused or stopped subscription go on."""
        return control.resume(name, who, using=self._using)

    @property
    def is_shutting_down(self) -> bool:
        return bool(self._stop)

    @property
    def shutdown_phase(self) -> ShutdownPhase:
        return self._phase

    @property
    def refused(self) -> dict[str, str]:
        """Why subscriptions of this process do not run, by name."""
        return dict(self._refused)

    @property
    def is_blocked(self) -> bool:
        """Say whether something here cannot go on by itself: an open breaker, a stopped or refused subscription."""
        broken = any(w.breaker_state is not BreakerState.CLOSED for w in self._ownership.workers)
        rows = checkpoints.find(self._using, sorted(self._subscriptions))
        return broken or bool(self._refused) or any(row.state == "stopped" for row in rows)

    def health_check(self) -> HealthReport:
        """Return the health of all subscriptions of this database, from their rows."""
        return health_report(self._using, self.health_check_config)

    def readiness_check(self) -> ReadinessReport:
        """Say whether this process can work: it runs, the database answers, nothing of it was refused."""
        if self._started_at is None:
            return ReadinessReport(ready=False, reason=NOT_STARTED)
        if self._stop:
            return ReadinessReport(ready=False, reason="shutting down")
        if self._refused:
            return ReadinessReport(ready=False, reason=" ".join(self._refused.values()), details=self.refused)
        return readiness_report(self._using)

    def liveness_check(self) -> LivenessReport:
        """Say whether the loops of this process move; never asks the database."""
        if self._started_at is None:
            return LivenessReport(alive=False, reason=NOT_STARTED)
        stuck = [worker.subscription.name for worker in self._ownership.stuck()]
        if stuck:
            return LivenessReport(alive=False, reason=f"handlers of {', '.join(stuck)} do not come back")
        return LivenessReport(alive=self._reader.is_moving)

    def get_error_stats(self) -> dict[str, Any]:
        """Return the failed attempts of this process and the open dead letters, in all and by subscription."""
        errors = self._callbacks.counts()
        letters = {name: dead_letters.count_open(self._using, name) for name in self._subscriptions}
        return {
            "total_errors": sum(errors.values()),
            "total_dlq_count": sum(letters.values()),
            "subscriptions": {
                name: {"errors": errors.get(name, 0), "dlq_count": letters[name]}
                for name in sorted(self._subscriptions)
            },
        }

    def on_error(self, callback: ErrorCallback) -> None:
        """Call ``callback(ErrorInfo)`` for every failed attempt."""
        self._callbacks.on_error(callback)

    def on_error_severity(self, severity: ErrorSeverity, callback: ErrorCallback) -> None:
        """Call for failed attempts of this severity and above."""
        self._callbacks.on_severity(severity, callback)

    def on_error_category(self, category: ErrorCategory, callback: ErrorCallback) -> None:
        self._callbacks.on_category(category, callback)

    def _run_until(self, finished: Callable[[], bool]) -> ShutdownResult:
        with StopSignals(self.request_shutdown) as signals:
            self.start()
            while not self._stop and not finished():
                signals.wait(POLL_SECONDS)
            return self.stop(self._stop.reason or "caught up")

    def _is_caught_up(self, target: int) -> bool:
        rows = checkpoints.find(self._using, sorted(self._subscriptions))
        waiting = [
            r
            for r in rows
            if r.subscription not in self._refused and r.state == "running" and r.position < target
        ]
        return not waiting or all(self._ownership.breaker_is_open(row) for row in waiting)

    def _enrol(self, subscription: Subscription) -> None:
        name = subscription.name
        try:
            enrol(self.event_store, subscription)
        except SubscriptionRefusedError as error:
            if self._refused.get(name) != str(error):
                logger.critical(
                    "Subscription refused", extra={"subscription": name, "error_message": str(error)}
                )
                refused = ErrorClassification(ErrorCategory.APPLICATION, ErrorSeverity.CRITICAL)
                self._callbacks.tell(error_info(name, None, error, refused, 0))
            self._refused[name] = str(error)
        else:
            if self._refused.pop(name, None):
                logger.info("Subscription no longer refused", extra={"subscription": name})

    def _new_ownership(self) -> Ownership:
        return Ownership(
            self._using,
            self.worker_id,
            self._runnable,
            self._start_worker,
            self._report_stuck,
            self._pin,
            self._lease_seconds,
            self._heartbeat_file,
        )

    def _runnable(self) -> dict[str, Subscription]:
        """Return what may run; what was refused is looked at again now and then, since an operator may have mended it."""
        if self._refused and time.monotonic() >= self._next_enrolment:
            self._next_enrolment = time.monotonic() + ENROL_AGAIN_SECONDS
            for name in tuple(self._refused):
                self._enrol(self._subscriptions[name])
        return {name: found for name, found in self._subscriptions.items() if name not in self._refused}

    def _start_worker(self, subscription: Subscription, lease: Lease) -> Worker:
        worker = Worker(
            subscription,
            self._using,
            lease,
            self._callbacks,
            self._stop,
            self._lease_seconds,
            self.event_store,
        )
        worker.lane.connect(self._reader.wake)
        worker.start()
        return worker

    def _report_stuck(self, worker: Worker) -> None:
        seconds = worker.patience_seconds
        error = ProcessingTimeoutError(
            f"A handler of {worker.subscription.name} has not come back for {seconds:.0f} seconds; restart the process."
        )
        critical = replace(classify(error), severity=ErrorSeverity.CRITICAL)
        self._callbacks.tell(error_info(worker.subscription.name, worker.current_event, error, critical, 0))

    def _join(self, workers: list[Worker], deadline: float) -> None:
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _leave(self) -> None:
        try:
            heartbeats.leave(self._using, self.worker_id)
        except DatabaseError as error:
            logger.warning(
                "Heartbeat not taken back; it expires by itself", extra={"error_message": str(error)}
            )
        finally:
            connections[self._using].close()
