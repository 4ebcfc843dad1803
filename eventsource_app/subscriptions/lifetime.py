"""One life of a manager's loops: from the start, through the phases of a stop, to the figures of its end."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.db import DatabaseError, InterfaceError, connections

from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions import checkpoints, heartbeats
from eventsource_app.subscriptions.checkpoints import CheckpointRow, Lease
from eventsource_app.subscriptions.config import MOST_SECONDS, ConfigurationError, is_number
from eventsource_app.subscriptions.errors import ProcessingTimeoutError, classify
from eventsource_app.subscriptions.ownership import Ownership
from eventsource_app.subscriptions.partitions import Pin
from eventsource_app.subscriptions.reader import Reader
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks, critical_info
from eventsource_app.subscriptions.roster import Roster
from eventsource_app.subscriptions.shutdown import ShutdownPhase, ShutdownResult, StopRequest
from eventsource_app.subscriptions.worker import Worker

logger = logging.getLogger("eventsource.manager")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a process works: its name in leases and heartbeats, its time limits in seconds, what it is pinned to."""

    worker_id: str
    shutdown_timeout: float = 60
    drain_timeout: float = 30
    lease_seconds: float = checkpoints.LEASE_SECONDS
    pin: Pin | None = None
    heartbeat_file: Path | None = None

    def __post_init__(self) -> None:
        for name in ("shutdown_timeout", "drain_timeout"):
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value <= MOST_SECONDS):
                raise ConfigurationError(
                    f"{name}={value!r} cannot be: use seconds from 0, {MOST_SECONDS:,} at most."
                )


class Lifetime:
    """The reader, the workers and what they own, until ``stop``."""

    def __init__(
        self,
        store: EventStore,
        roster: Roster,
        callbacks: ErrorCallbacks,
        stop: StopRequest,
        terms: Terms,
    ) -> None:
        self._store = store
        self._roster = roster
        self._callbacks = callbacks
        self._stop = stop
        self._terms = terms
        self.ownership = Ownership(
            store.using,
            terms.worker_id,
            roster.runnable,
            self._start_worker,
            self._tell_stuck,
            terms.pin,
            terms.lease_seconds,
            terms.heartbeat_file,
        )
        self.reader = Reader(store, stop, self.ownership)

    def start(self) -> None:
        """Take what is there to take, and return; the reader's loop does the rest."""
        # What fails here is tried again by the loop, which waits for the database if it must.
        with suppress(DatabaseError, InterfaceError):
            self.ownership.chores()
        self.reader.start()

    def left_behind(self, target: int) -> list[CheckpointRow] | None:
        """Return what does not reach the target by this process as things are; None while something still does."""
        refused = self._roster.refused
        behind = [
            row
            for row in checkpoints.find(self._store.using, self._roster.names)
            if row.subscription not in refused and row.position < target and self.ownership.pin_allows(row)
        ]
        return behind if all(self._is_hopeless(row) for row in behind) else None

    def _is_hopeless(self, row: CheckpointRow) -> bool:
        """Say whether a partition waits for an operator, for what its open breaker waits for, or for newer code."""
        has_nobody = not row.leased and not self.ownership.code_allows(row)
        return row.state != "running" or self.ownership.breaker_is_open(row) or has_nobody

    def stop(self, enter: Callable[[ShutdownPhase], None]) -> ShutdownResult:
        """No more reading, running batches to their end, leases given back; ``enter`` is called with each phase."""
        started = time.monotonic()
        enter(ShutdownPhase.STOPPING)
        workers = self.ownership.workers
        self.reader.wake()
        for worker in workers:
            worker.lane.wake()
        enter(ShutdownPhase.DRAINING)
        _join(workers, started + min(self._terms.drain_timeout, self._terms.shutdown_timeout))
        for worker in workers:
            worker.interrupt()
        enter(ShutdownPhase.CHECKPOINTING)
        deadline = started + self._terms.shutdown_timeout
        _join(workers, deadline)
        self.reader.join(max(0.1, deadline - time.monotonic()))
        # The reader may have been taking a lease as the stop came: its worker gives it back, but is not among the others.
        late = tuple(worker for worker in self.ownership.workers if worker not in workers)
        _join(late, max(deadline, time.monotonic() + 0.1))
        workers += late
        self._leave()
        forced = any(worker.is_alive for worker in workers)
        phase = ShutdownPhase.FORCED if forced else ShutdownPhase.STOPPED
        enter(phase)
        return ShutdownResult(
            phase=phase,
            duration_seconds=time.monotonic() - started,
            forced=forced,
            events_in_flight=sum(worker.events_in_flight for worker in workers),
            checkpoints_saved=sum(worker.released for worker in workers),
            reason=self._stop.reason,
        )

    def _start_worker(self, subscription: Subscription, lease: Lease) -> Worker:
        worker = Worker(
            subscription,
            self._store.using,
            lease,
            self._callbacks,
            self._stop,
            self._terms.lease_seconds,
            self._store,
        )
        worker.lane.connect(self.reader.wake)
        worker.start()
        return worker

    def _tell_stuck(self, worker: Worker) -> None:
        name, seconds = worker.subscription.name, worker.patience_seconds
        error = ProcessingTimeoutError(
            f"A handler of {name} has not come back for {seconds:.0f} seconds; restart the process."
        )
        category = classify(error).category
        self._callbacks.tell(critical_info(name, worker.current_event, error, category))

    def _leave(self) -> None:
        connection = connections[self._store.using]
        try:
            heartbeats.leave(self._store.using, self._terms.worker_id)
        except (DatabaseError, InterfaceError) as error:
            logger.warning(
                "Heartbeat not taken back; it expires by itself", extra={"error_message": str(error)}
            )
        finally:
            if not connection.in_atomic_block:  # the caller's transaction would be rolled back without a word
                connection.close()


def _join(workers: Sequence[Worker], deadline: float) -> None:
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
