"""A worker: one thread that moves one leased partition along the log, until it is told to stop or loses the lease."""

import logging
import threading
import time
from typing import Final

from django.db import DatabaseError, InterfaceError

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions import checkpoints
from eventsource_app.subscriptions.attempts import Limits
from eventsource_app.subscriptions.checkpoints import Lease
from eventsource_app.subscriptions.circuit_breaker import BreakerState, CircuitBreaker
from eventsource_app.subscriptions.config import CheckpointStrategy
from eventsource_app.subscriptions.delivery import Delivery
from eventsource_app.subscriptions.interruptions import (
    BreakerOpenedError,
    CheckpointMovedError,
    CutShortError,
    LeaseLostError,
    NotRunningError,
    StoppedError,
    WorldError,
)
from eventsource_app.subscriptions.lane import Lane, Page
from eventsource_app.subscriptions.redelivery import Redelivery
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks
from eventsource_app.subscriptions.retry import backoff
from eventsource_app.subscriptions.shutdown import StopRequest
from eventsource_app.subscriptions.worker_session import WorkerSession

logger = logging.getLogger("eventsource.worker")
TICK_SECONDS: Final = 0.5
# An idle worker looks at its row so often: a pause, a rebuild, a lost lease are seen within this time.
LOOK_SECONDS: Final = 1.0
RETRY_SHARE: Final = 10
# A dead letter may wait for hours until it is tried again; a whole partition, for a database that is back, must not.
LONGEST_OUTAGE_PAUSE_SECONDS: Final = 60.0


class Worker:
    """Moves one partition: takes pages from its lane, has them delivered, renews the lease while idle."""

    def __init__(
        self,
        subscription: Subscription,
        using: str,
        lease: Lease,
        callbacks: ErrorCallbacks,
        stop: StopRequest,
        lease_seconds: float = checkpoints.LEASE_SECONDS,
        store: EventStore | None = None,
    ) -> None:
        self.subscription = subscription
        self.lease = lease
        self._using = using
        self._stop = stop
        self._lease_seconds = lease_seconds
        config = subscription.config
        feed_filter = subscription.feed_filter(lease.partition, lease.partition_count)
        self.lane = Lane(feed_filter, config.batch_size, config.in_flight_limit, lease.position)
        self._breaker = CircuitBreaker(config)
        limits = Limits(lease_seconds, self._is_stopping, self._beat)
        self._delivery = Delivery(subscription, using, lease, limits, callbacks, self._breaker)
        self._delivery.upcoming = self.lane.upcoming
        self._redelivery = Redelivery(
            subscription, using, lease, lease_seconds, callbacks, store, self._is_stopping
        )
        self._outage_count = 0
        self._postponed_count = 0
        self._next_renewal = 0.0  # the first step looks at the row's state and its parked aggregates
        self._next_retry = 0.0
        self._held: Page | None = None
        self._leaving = False
        self._must_resync = False
        self.released = False
        self._session = WorkerSession(using, config.processing_timeout, self.patience_seconds)
        self.beat_at = time.monotonic()
        name = f"{subscription.name}-{lease.partition}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        """Ask it to give its partition back (a rebalance)."""
        self._leaving = True
        self.lane.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for its end; say whether it has come. A handler that asks waits for nothing: it is what would be waited for."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def is_leaving(self) -> bool:
        return self._leaving

    @property
    def current_event(self) -> RecordedEvent | None:
        """The event that a handler has at this moment."""
        return self._delivery.current or self._redelivery.current

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def patience_seconds(self) -> float:
        """How long the loop may stand still before its process counts as stuck."""
        return self.subscription.config.processing_timeout + self._lease_seconds

    @property
    def breaker_state(self) -> BreakerState:
        return self._breaker.state

    @property
    def events_in_flight(self) -> int:
        return self.lane.in_flight

    @property
    def has_caught_up(self) -> bool:
        """Say whether something was read for it, and all of that is behind the checkpoint."""
        return self.lease.position < self.lane.next_after <= self._delivery.position

    def interrupt(self) -> None:
        """Cancel the statement that the worker hangs in, from another thread."""
        if self.is_alive:
            self._session.cancel()

    def _beat(self) -> None:
        self.beat_at = time.monotonic()

    def _is_stopping(self) -> bool:
        return bool(self._stop) or self._leaving

    def _run(self) -> None:
        self._session.begin()
        try:
            while not self._is_stopping():
                self._beat()
                self._guarded_step()
            self._release()
        except LeaseLostError as error:
            logger.warning(str(error), extra=self._about())
        except Exception:
            logger.exception("Worker ended by an error of its own", extra=self._about())
        finally:
            self._session.close()

    def _guarded_step(self) -> None:
        """One step, and what follows from how it ended. Nothing here needs the database: that may be what failed."""
        try:
            self.step()
        except LeaseLostError:
            raise
        except (CheckpointMovedError, CutShortError) as error:
            logger.info(str(error), extra=self._about())
            self._must_resync = True
        except (StoppedError, BreakerOpenedError) as error:
            message = "Subscription stopped" if isinstance(error, StoppedError) else "Circuit breaker opened"
            logger.error(message, extra={**self._about(), "error_message": str(error)})
            self._must_resync = True
        except NotRunningError:
            self._must_resync = True
            self._wait(TICK_SECONDS)
        except (WorldError, DatabaseError, InterfaceError) as error:
            self._back_off(error)
        else:
            self._outage_count = 0

    def step(self) -> None:
        """Deliver one page, or do what is due while there is none."""
        self._session.open()
        if self._must_resync:
            self._resync()
        self._renew_if_due()
        if not self._breaker.allow():
            return self._wait(min(TICK_SECONDS, self._breaker.seconds_to_probe()))
        page = self._next_page()
        if page is not None:
            self._deliver(page)
        return self._retry_if_due(is_idle=page is None)

    def _next_page(self) -> Page | None:
        """Return what to deliver; a stretch without events waits a moment for some, so that it costs no commit."""
        page = self.lane.take(self._seconds_to_wait())
        held, self._held = self._held, None
        if page is None:
            return held
        page = held.followed_by(page) if held else page
        if not page.events and held is None:
            self._held = page
            return None
        if self.subscription.config.checkpoint_strategy is CheckpointStrategy.PERIODIC:
            page = self.lane.take_more(page, self.subscription.config.in_flight_limit)
        return page

    def _seconds_to_wait(self) -> float:
        """Return how long to wait for events: not beyond the next turn of a dead letter and its followers."""
        if not self._delivery.has_open_letters:
            return TICK_SECONDS
        return min(TICK_SECONDS, max(0.0, self._next_retry - time.monotonic()))

    def _deliver(self, page: Page) -> None:
        finished = self._delivery.deliver(page)
        # What waits for the end of a run of failures is kept by nobody, so it takes no room: it may be more than there is.
        left = 0 if finished else sum(recorded.position > self._delivery.position for recorded in page.events)
        self.lane.done(len(page.events) - left)
        self._note_renewal()
        self._must_resync = not finished

    def _retry_if_due(self, *, is_idle: bool) -> None:
        """Try one dead letter or follower: at once while there is nothing else, else in at most a tenth of the time."""
        if not self._delivery.has_open_letters or time.monotonic() < self._next_retry:
            return
        started = time.monotonic()
        try:
            worked = self._redelivery.retry_due()
        except WorldError as error:
            self._postpone_retries(error)
            return
        self._postponed_count = 0
        spent = time.monotonic() - started
        pause = 0.0 if is_idle else spent * RETRY_SHARE
        self._next_retry = time.monotonic() + (pause if worked else TICK_SECONDS)

    def _postpone_retries(self, error: WorldError) -> None:
        """What a letter's handler needs is away. The others' may be there: if it was the database, they will meet it too."""
        self._postponed_count += 1
        delay = self._pause_after(self._postponed_count)
        self._next_retry = time.monotonic() + delay
        about = {**self._about(), "error_message": str(error), "delay_seconds": delay}
        logger.warning("Retries of dead letters wait", extra=about)

    def _pause_after(self, failures: int) -> float:
        return min(backoff(failures, self.subscription.config), LONGEST_OUTAGE_PAUSE_SECONDS)

    def _renew_if_due(self) -> None:
        if time.monotonic() < self._next_renewal:
            return
        position = self._renew()
        if position != self._delivery.position:
            raise CheckpointMovedError(self.subscription.name, self._delivery.position, position)

    def _note_renewal(self) -> None:
        self._next_renewal = time.monotonic() + min(self._lease_seconds / 3, LOOK_SECONDS)

    def _renew(self) -> int:
        """Renew the lease and look at the row: is it running, is anything parked anew; return its position."""
        state, position, generation = checkpoints.renew(self._using, self.lease, self._lease_seconds)
        self._note_renewal()
        self._delivery.know_parked(generation)
        if state != "running":
            raise NotRunningError(self.subscription.name, state)
        return int(position)

    def _resync(self) -> None:
        """Drop what was read ahead and go on from the committed position."""
        position = self._renew()
        self._held = None
        self._delivery.forget(position)
        self.lane.reset(position)
        self._must_resync = False

    def _back_off(self, error: Exception) -> None:
        """The world is at fault: let go of the connection, wait, and begin at the committed position."""
        self._outage_count += 1
        delay = self._pause_after(self._outage_count)
        logger.warning(
            "Subscription waits for the database",
            extra={**self._about(), "error_message": str(error), "delay_seconds": delay},
        )
        self._session.close()
        self._must_resync = True
        self._wait_as_owner(delay)

    def _wait_as_owner(self, seconds: float) -> None:
        """Wait longer than a lease lasts, and keep it: whoever took it over would count the death of a process."""
        deadline = time.monotonic() + seconds
        while not self._is_stopping() and (left := deadline - time.monotonic()) > 0:
            self._keep_lease()  # at once: what failed may have taken longer than the lease
            self._wait(min(left, self._lease_seconds / 3))

    def _keep_lease(self) -> None:
        try:
            self._session.open()
            checkpoints.renew(self._using, self.lease, self._lease_seconds)
        except (DatabaseError, InterfaceError):
            self._session.close()  # it is the database that is away; nobody else reaches it either

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_stopping() and (left := deadline - time.monotonic()) > 0:
            self._beat()
            self._stop.wait(min(left, TICK_SECONDS))

    def _release(self) -> None:
        try:
            self.released = checkpoints.release(self._using, self.lease)
        except (DatabaseError, InterfaceError) as error:
            logger.warning(
                "Lease not given back; it expires by itself",
                extra={**self._about(), "error_message": str(error).strip()},
            )

    def _about(self) -> dict[str, object]:
        return {"subscription": self.subscription.name, "partition": self.lease.partition}
