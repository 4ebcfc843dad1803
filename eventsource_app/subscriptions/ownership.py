"""Ownership: which partitions this process runs, shared fairly with all other live processes by their heartbeats."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from eventsource_app.store import fence
from eventsource_app.subscriptions import checkpoints, heartbeats
from eventsource_app.subscriptions.checkpoints import CheckpointRow, Lease
from eventsource_app.subscriptions.circuit_breaker import BreakerState
from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.enrolment import handles_too_few, may_run
from eventsource_app.subscriptions.history import Sampler
from eventsource_app.subscriptions.lane import Lane
from eventsource_app.subscriptions.partitions import Pin
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.sharing import Sharing
from eventsource_app.subscriptions.turns import Turns
from eventsource_app.subscriptions.worker import Worker

logger = logging.getLogger("eventsource.manager")
CLAIM_SECONDS: Final = 0.5


class Ownership:
    """The workers of one process. ``chores`` is called by the reader's loop and does what is due."""

    def __init__(
        self,
        using: str,
        worker_id: str,
        subscriptions: Callable[[], dict[str, Subscription]],
        start_worker: Callable[[Subscription, Lease], Worker],
        on_stuck: Callable[[Worker], None],
        pin: Pin | None = None,
        lease_seconds: float = checkpoints.LEASE_SECONDS,
        heartbeat_file: Path | None = None,
    ) -> None:
        self._using = using
        self._worker_id = worker_id
        self._subscriptions = subscriptions
        self._start_worker = start_worker
        self._on_stuck = on_stuck
        self._pin = pin
        self._lease_seconds = lease_seconds
        self._heartbeat_file = heartbeat_file
        self._workers: dict[int, Worker] = {}
        self._sharing = Sharing(pin)
        self._turns = Turns(using)
        self._reported_turns = False
        self._reported_stuck: set[int] = set()
        self._reported_pins: set[str] = set()
        self._reported_types: set[str] = set()
        self._sampler = Sampler(using, worker_id)
        self._next_claim = self._next_beat = 0.0

    @property
    def workers(self) -> tuple[Worker, ...]:
        return tuple(self._workers.values())

    def lanes(self) -> list[Lane]:
        return [worker.lane for worker in self.workers if worker.is_alive]

    def owned(self, name: str) -> list[Worker]:
        return [worker for worker in self.workers if worker.subscription.name == name and worker.is_alive]

    def stuck(self) -> list[Worker]:
        """Workers whose loop has stood still for longer than a handler may take."""
        now = time.monotonic()
        return [w for w in self.workers if w.is_alive and now - w.beat_at > w.patience_seconds]

    def breaker_is_open(self, row: CheckpointRow) -> bool:
        worker = self._workers.get(row.id)
        return worker is not None and worker.breaker_state is BreakerState.OPEN

    def chores(self) -> None:
        """Show that the process lives, take what nobody owns, give back what is more than a fair share."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + heartbeats.BEAT_SECONDS
            self._beat()
        if now >= self._next_claim:
            self._next_claim = now + CLAIM_SECONDS
            self._balance()

    def _beat(self) -> None:
        """No beat while a loop is stuck: a side thread that beats would hide it."""
        stuck = self.stuck()
        for worker in stuck:
            if id(worker) not in self._reported_stuck:
                self._reported_stuck.add(id(worker))
                self._on_stuck(worker)
        if not stuck:
            heartbeats.touch(self._heartbeat_file)
            subscriptions = self._subscriptions()
            # Not those that only a newer release can run: who can would leave partitions to us.
            names = sorted({row.subscription for row in self._rows(subscriptions)})
            heartbeats.beat(self._using, self._worker_id, "running", names)
            self._sampler.sample_if_due(sorted(subscriptions))

    def _balance(self) -> None:
        self._workers = {key: worker for key, worker in self._workers.items() if worker.is_alive}
        subscriptions = self._subscriptions()
        for worker in self.workers:
            if worker.subscription.name not in subscriptions:  # unsubscribed while its lease was being taken
                worker.leave()
        rows, live = self._rows(subscriptions), heartbeats.count_live(self._using, self._lease_seconds)
        self._sharing.look(rows, self._workers, live)
        room, waiting = self._turns.room(max(live.values(), default=1)), []
        for row in sorted(rows, key=lambda row: (self._sharing.rivals(row), self._turns.last(row.id))):
            if row.id in self._workers or row.leased or not self._sharing.wants(row, self.workers):
                continue
            if len(self._workers) < room:
                self._take(subscriptions[row.subscription], row)
            else:
                waiting.append(row)
        for worker in self._sharing.excess(self.workers):
            self._give_back(worker)
        if waiting:
            self._make_room(waiting, room)

    def _make_room(self, waiting: list[CheckpointRow], room: int) -> None:
        """Have some end their turn, for as many as have something to do."""
        self._report_turns(len(self._workers) + len(waiting), room)
        head = fence.head_position(self._using)
        for worker in self._turns.ended(self.workers, sum(row.position < head for row in waiting)):
            self._give_back(worker)

    def _rows(self, subscriptions: dict[str, Subscription]) -> list[CheckpointRow]:
        """Return the partitions that this process can run."""
        return [
            row
            for row in checkpoints.find(self._using, sorted(subscriptions))
            if self.code_allows(row) and self.pin_allows(row)
        ]

    def code_allows(self, row: CheckpointRow) -> bool:
        """Say whether this process may run a partition, by the event types that its code handles."""
        subscription = self._subscriptions().get(row.subscription)
        if subscription is None:
            return False
        if may_run(row, subscription):
            return True
        if row.subscription not in self._reported_types:
            self._reported_types.add(row.subscription)
            logger.warning(
                "Subscription left alone",
                extra={"subscription": row.subscription, "error_message": handles_too_few(row.subscription)},
            )
        return False

    def pin_allows(self, row: CheckpointRow) -> bool:
        """Say whether this process may run a partition, by what it is pinned to."""
        try:
            return self._pin is None or self._pin.allows(row.subscription, row.partition, row.partition_count)
        except ConfigurationError as error:
            if row.subscription not in self._reported_pins:
                self._reported_pins.add(row.subscription)
                logger.critical(
                    "Subscription refused",
                    extra={"subscription": row.subscription, "error_message": str(error)},
                )
            return False

    def _take(self, subscription: Subscription, row: CheckpointRow) -> None:
        lease = checkpoints.claim(self._using, row, self._worker_id, self._lease_seconds)
        if lease is None:
            return
        self._turns.note_taken(lease.checkpoint_id)
        self._workers = {**self._workers, lease.checkpoint_id: self._start_worker(subscription, lease)}
        logger.info(
            "Lease taken",
            extra={
                "subscription": lease.subscription,
                "partition": lease.partition,
                "epoch": lease.epoch,
                "position": lease.position,
                "worker_id": self._worker_id,
            },
        )

    def _give_back(self, worker: Worker) -> None:
        logger.info(
            "Lease given back",
            extra={"subscription": worker.lease.subscription, "partition": worker.lease.partition},
        )
        worker.leave()

    def _report_turns(self, partitions: int, room: int) -> None:
        if self._reported_turns:
            return
        self._reported_turns = True
        logger.warning(
            "Partitions take turns",
            extra={
                "error_message": f"{partitions} partitions want a connection each, and {room} are what this process may take of the "
                "server's max_connections; raise that, or use fewer partitions.",
            },
        )
