"""The subscription manager: owns the loops of one worker process, from start to a graceful end."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, connections

from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions import checkpoints, control, dead_letters, heartbeats
from eventsource_app.subscriptions.callbacks import load_callbacks
from eventsource_app.subscriptions.checkpoints import CheckpointRow
from eventsource_app.subscriptions.config import ConfigurationError, HealthCheckConfig, SubscriptionConfig
from eventsource_app.subscriptions.control import StateChange, why_held
from eventsource_app.subscriptions.errors import ErrorCategory, ErrorSeverity
from eventsource_app.subscriptions.health import (
    HealthReport,
    LivenessReport,
    ReadinessReport,
    health_report,
    missing_migrations,
    readiness_report,
)
from eventsource_app.subscriptions.lifetime import Lifetime, Terms
from eventsource_app.subscriptions.partitions import Pin
from eventsource_app.subscriptions.projection import Projection
from eventsource_app.subscriptions.registry import Subscription, configured
from eventsource_app.subscriptions.reporting import ErrorCallback, ErrorCallbacks, log_critical, log_error
from eventsource_app.subscriptions.roster import Roster
from eventsource_app.subscriptions.shutdown import ShutdownPhase, ShutdownResult, StopRequest
from eventsource_app.subscriptions.signals import POLL_SECONDS, StopSignals
from eventsource_app.subscriptions.starting import start_when_possible

logger = logging.getLogger("eventsource.manager")
NOT_STARTED = "manager not initialized"
NO_ANSWER = "waiting for the database, which does not answer"


class NotMigratedError(ConfigurationError):
    """The database does not have the tables that this code expects."""

    def __init__(self, missing: list[str]) -> None:
        super().__init__(
            f"{len(missing)} migrations are not applied (the first: {missing[0]}); run `manage.py migrate`, then start again."
        )
        self.missing = missing


class SubscriptionManager:
    """Runs subscriptions in this process; any number of processes on any number of hosts share them by leases.

    ``shutdown_timeout`` bounds the whole stop and ``drain_timeout`` the wait for running batches, in seconds.
    ``asked_early`` names the signal that the process was sent before the manager listened, if any.
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
        asked_early: Callable[[], str] = lambda: "",
    ) -> None:
        self.event_store = event_store or EventStore()
        self.health_check_config = health_check_config or HealthCheckConfig()
        self.enable_tracing = enable_tracing
        self._using = self.event_store.using
        self._terms = Terms(
            worker_id=heartbeats.new_worker_id(),
            shutdown_timeout=shutdown_timeout,
            drain_timeout=drain_timeout,
            lease_seconds=lease_seconds,
            pin=pin,
            heartbeat_file=heartbeat_file,
        )
        self._callbacks = ErrorCallbacks()
        self._callbacks.on_error(log_error)
        self._callbacks.on_severity(ErrorSeverity.CRITICAL, log_critical)
        for callback in load_callbacks():
            self._callbacks.on_error(callback)
        self._roster = Roster(self.event_store, self._callbacks, pin)
        self._asked_early = asked_early
        self._stop = StopRequest()
        self._phase = ShutdownPhase.STOPPED
        self._lifetime: Lifetime | None = None
        self._was_stopped = False
        self._unhandled = ""
        self._waits_for = ""

    def subscribe(
        self,
        projection: Projection | type[Projection],
        config: SubscriptionConfig | None = None,
        name: str | None = None,
    ) -> None:
        """Have a projection follow the log under a name (its class's name by default), from ``start()`` on."""
        instance = projection() if isinstance(projection, type) else projection
        name = name or type(instance).__name__
        config = configured(name, config or SubscriptionConfig())
        subscription = Subscription(name, instance, config, self.enable_tracing)
        self._roster.add(subscription)
        if self._lifetime is not None:
            self._roster.enrol_when_possible(subscription)

    def unsubscribe(self, name: str) -> None:
        """Stop following; the checkpoint stays for whoever subscribes next. Waits for the batch that runs, if any."""
        self._roster.remove(name)
        workers = [] if self._lifetime is None else self._lifetime.ownership.owned(name)
        for worker in workers:
            worker.leave()
        for worker in workers:
            worker.join(self._terms.drain_timeout)

    def start(self) -> None:
        """Start the loops and return; what may not run is refused with a log line and makes the process not ready.

        Raises ``NotMigratedError``, and Django's ``OperationalError`` while the database is away.
        """
        if self._lifetime is not None:
            raise ConfigurationError("The subscription manager runs already; stop it first.")
        self._renew_stop()
        missing = missing_migrations(self._using)
        if missing:
            raise NotMigratedError(missing)
        self._roster.enrol_all()
        self._lifetime = Lifetime(self.event_store, self._roster, self._callbacks, self._stop, self._terms)
        self._phase = ShutdownPhase.RUNNING
        self._lifetime.start()
        logger.info(
            "Subscriptions started", extra={"subscriptions": self._roster.names, "worker_id": self.worker_id}
        )

    def stop(self, reason: str = "stop() was called") -> ShutdownResult:
        """Stop gracefully: no more reading, running batches to their end, leases given back."""
        self.request_shutdown(reason)
        lifetime, self._was_stopped = self._lifetime, True
        if lifetime is None:
            result = ShutdownResult(ShutdownPhase.STOPPED, 0.0, False, 0, 0, self._stop.reason)
        else:
            result = lifetime.stop(self._enter)
        self._lifetime = None
        logger.info("Shutdown complete", extra=result.to_dict())
        return result

    def run_until_shutdown(self) -> ShutdownResult:
        """Start, wait for a signal or ``request_shutdown()``, stop. Off the main thread no signals are installed."""
        return self._run_until(lambda: "")

    def run_until_caught_up(self) -> ShutdownResult:
        """Start, wait until every subscription is where the log ended at the start or cannot go on, stop.

        ``unhandled`` then says what could not.
        """
        target: list[int] = []  # known once the database answers

        def is_done() -> str:
            if not target:
                target.append(self.event_store.head_position())
            left = None if self._lifetime is None else self._lifetime.left_behind(target[0])
            if left is None:
                return ""
            self._unhandled = self._why_unhandled(left)
            return self._unhandled or "caught up"

        self._unhandled = ""
        return self._run_until(is_done)

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
    def worker_id(self) -> str:
        """Its name in leases and heartbeats."""
        return self._terms.worker_id

    @property
    def refused(self) -> dict[str, str]:
        """Why subscriptions of this process do not run, by name."""
        return self._roster.refused

    @property
    def unhandled(self) -> str:
        """Why ``run_until_caught_up`` left events unhandled, and what to do; empty when it left none, or was interrupted."""
        return self._unhandled

    @property
    def is_blocked(self) -> bool:
        """Say whether something here cannot go on by itself: an open breaker, a stopped or refused subscription.

        A paused one holds up nothing but a ``run_until_caught_up`` that found events waiting for it.
        """
        rows = checkpoints.find(self._using, self._roster.names)
        return bool(self.refused or self._unhandled) or any(
            row.state == "stopped" or row.breaker != "closed" for row in rows
        )

    def health_check(self) -> HealthReport:
        """Return the health of all subscriptions of this database, from their rows."""
        return health_report(self._using, self.health_check_config)

    def readiness_check(self) -> ReadinessReport:
        """Say whether this process can work: it runs, the database answers, nothing of it was refused."""
        if self._waits_for:
            return ReadinessReport(ready=False, reason=self._waits_for)
        if self._lifetime is None:
            return ReadinessReport(ready=False, reason=NOT_STARTED)
        if self._stop:
            return ReadinessReport(ready=False, reason="shutting down")
        if self.refused:
            return ReadinessReport(ready=False, reason=" ".join(self.refused.values()), details=self.refused)
        return readiness_report(self._using)

    def liveness_check(self) -> LivenessReport:
        """Say whether the loops of this process move; never asks the database."""
        if self._waits_for:
            return LivenessReport(alive=True)
        lifetime = self._lifetime
        if lifetime is None:
            return LivenessReport(alive=False, reason=NOT_STARTED)
        stuck = [worker.subscription.name for worker in lifetime.ownership.stuck()]
        if stuck:
            return LivenessReport(alive=False, reason=f"handlers of {', '.join(stuck)} do not come back")
        return LivenessReport(alive=lifetime.reader.is_moving)

    def get_error_stats(self) -> dict[str, Any]:
        """Return the failed attempts of this process and the open dead letters, in all and by subscription."""
        errors = self._callbacks.counts()
        letters = {name: dead_letters.count_open(self._using, name) for name in self._roster.names}
        return {
            "total_errors": sum(errors.values()),
            "total_dlq_count": sum(letters.values()),
            "subscriptions": {
                name: {"errors": errors.get(name, 0), "dlq_count": letters[name]}
                for name in self._roster.names
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

    def _why_unhandled(self, left: list[CheckpointRow]) -> str:
        held = {row.subscription: why_held(row) for row in left} | self.refused
        return " ".join(held.values()) or ("Not everything could be handled." if self.is_blocked else "")

    def _run_until(self, done: Callable[[], str]) -> ShutdownResult:
        """``done`` returns the reason to stop, or nothing."""
        reason = ""
        self._renew_stop()
        with StopSignals(self.request_shutdown) as signals:
            early = self._asked_early()  # only now: no signal can come between the two handlers
            if early:
                self.request_shutdown(early)
            try:
                start_when_possible(self.start, self._note_waiting, self._stop, signals)
            finally:
                self._waits_for = ""
            while not self._stop and not (reason := self._asked(done)):
                signals.wait(POLL_SECONDS)
            return self.stop(self._stop.reason or reason)

    def _note_waiting(self) -> None:
        self._waits_for = NO_ANSWER
        connections[self._using].close()
        heartbeats.touch(self._terms.heartbeat_file)

    def _asked(self, done: Callable[[], str]) -> str:
        """While the database is away nobody can say whether all is done."""
        try:
            return done()
        except (DatabaseError, InterfaceError):
            connections[self._using].close()
            return ""

    def _renew_stop(self) -> None:
        """A request stands until a stop has answered it; then the manager may be started again."""
        if self._was_stopped:
            self._stop, self._was_stopped = StopRequest(), False

    def _enter(self, phase: ShutdownPhase) -> None:
        self._phase = phase
