"""Append these, run to caught up, look at the read model: projections in ordinary Django tests.

Everything happens in the test's own thread and connection, so it works inside a ``TestCase``, whose transaction no
worker could see, and in transactional tests alike. Events take the way they take in a worker: same rows, same delivery.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final, NoReturn, Protocol

from eventsource_app.events import DomainEvent
from eventsource_app.exceptions import EventSourceError
from eventsource_app.store import AppendResult, EventStore, ExpectedVersion, StreamId
from eventsource_app.subscriptions import Projection, SubscriptionConfig, checkpoints
from eventsource_app.subscriptions.attempts import Limits
from eventsource_app.subscriptions.checkpoints import CheckpointRow, Lease
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.delivery import Delivery
from eventsource_app.subscriptions.enrolment import enrol
from eventsource_app.subscriptions.interruptions import WorldError
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription, configured, declared_subscriptions
from eventsource_app.subscriptions.reporting import ErrorCallbacks, log_error
from eventsource_app.testing.closing import close_own_connections
from eventsource_app.testing.scenario import Happened

OWNER: Final = "test"
# A debugger may stand in a handler for as long as it likes: here a lease only keeps workers away.
LEASE_SECONDS: Final = 3600.0
Followed = Projection | type[Projection] | str


class CaughtUp(Protocol):
    """The shape of ``run_to_caught_up``, to annotate the pytest fixture ``caught_up`` with."""

    def __call__(
        self, *projections: Followed, store: EventStore | None = None, park: bool = False
    ) -> None: ...


class PartitionTakenError(EventSourceError):
    """A worker runs the subscription, so the test cannot."""

    def __init__(self, row: CheckpointRow) -> None:
        super().__init__(
            f"Partition {row.partition} of {row.subscription} is run by {row.owner}; stop that worker before the test runs it."
        )


def append_events(
    stream: StreamId, *events: DomainEvent | Happened, store: EventStore | None = None
) -> AppendResult:
    """Append events at the end of a stream; those given as ``happened(...)`` are numbered from its last version."""
    store = store or EventStore()
    version = store.stream_version(stream)
    placed = [
        event.at(stream.aggregate_type, stream.aggregate_id, number) if isinstance(event, Happened) else event
        for number, event in enumerate(events, start=version + 1)
    ]
    return store.append(stream, placed, ExpectedVersion.exact(version))


def run_to_caught_up(*projections: Followed, store: EventStore | None = None, park: bool = False) -> None:
    """Deliver everything that is in the log to these projections, and return when they have it.

    Takes projections (objects or classes) and names of declared subscriptions; none given: all that are declared. A
    projection runs under its declared name and configuration, or else under its class's name.

    The first error of a handler comes out as it is, and nothing of its batch is kept. With ``park=True`` the event becomes a
    dead letter instead, as in production. Raises ``PartitionTakenError`` beside a running worker, ``BreakerOpenedError``,
    ``NotRunningError`` for a paused subscription and ``SubscriptionRefusedError``.
    """
    store = store or EventStore()
    for subscription in _subscriptions(projections):
        for row in enrol(store, subscription):
            with _lease(store.using, row) as lease:
                _deliver_all(store, subscription, lease, Delivery if park else _LoudDelivery)


class ProjectionTestMixin:
    """For a ``TestCase`` or ``TransactionTestCase``: ``self.append(stream, …)``, ``self.catch_up()``, then assert.

    ``projections`` says what ``catch_up`` runs (objects, classes or names); empty: every declared subscription.
    """

    projections: ClassVar[Sequence[Followed]] = ()
    event_store: ClassVar[EventStore | None] = None

    def append(self, stream: StreamId, *events: DomainEvent | Happened) -> AppendResult:
        """Append events at the end of a stream, as ``append_events`` does."""
        return append_events(stream, *events, store=self.event_store)

    def catch_up(self, *projections: Followed, park: bool = False) -> None:
        """Bring the read models up to date, as ``run_to_caught_up`` does."""
        run_to_caught_up(*(projections or self.projections), store=self.event_store, park=park)

    @classmethod
    def tearDownClass(cls) -> None:
        """Let go of the test database, which is dropped at the end."""
        close_own_connections()
        super().tearDownClass()  # type: ignore[misc]


class _LoudDelivery(Delivery):
    """Lets the first error out instead of looking for the event that caused it."""

    def _after_failed_batch(self, page: Page, error: Exception) -> NoReturn:
        raise error


@contextmanager
def _lease(using: str, row: CheckpointRow) -> Iterator[Lease]:
    lease = checkpoints.claim(using, row, f"{OWNER}-{os.getpid()}", LEASE_SECONDS)
    if lease is None:
        raise PartitionTakenError(row)
    try:
        yield replace(lease, unclean_takeover_count=0)
    finally:
        checkpoints.release(using, lease)


def _deliver_all(store: EventStore, subscription: Subscription, lease: Lease, kind: type[Delivery]) -> None:
    delivery = kind(
        subscription,
        store.using,
        lease,
        Limits(LEASE_SECONDS, stopping=lambda: False),
        _callbacks(),
        CircuitBreaker(subscription.config),
    )
    try:
        for page in _pages(store, subscription, lease):
            delivery.deliver(page)
    except WorldError as error:
        raise error.error from error.error.__cause__


def _pages(store: EventStore, subscription: Subscription, lease: Lease) -> Iterable[Page]:
    feed_filter = subscription.feed_filter(lease.partition, lease.partition_count)
    after, bound = lease.position, store.read_bound().bound
    while after < bound:
        found = store.read_feed(after, bound, subscription.config.batch_size, feed_filter)
        yield Page(after, found.events, found.through, at_end=found.through >= bound)
        after = found.through


def _callbacks() -> ErrorCallbacks:
    callbacks = ErrorCallbacks()
    callbacks.on_error(log_error)
    return callbacks


def _subscriptions(projections: Sequence[Followed]) -> list[Subscription]:
    declared = declared_subscriptions()
    return [_subscription(each, declared) for each in projections] or list(declared.values())


def _subscription(followed: Followed, declared: dict[str, Subscription]) -> Subscription:
    if isinstance(followed, str):
        if followed not in declared:
            raise LookupError(
                f"There is no subscription {followed!r}; declared are: {', '.join(declared) or 'none'}."
            )
        return declared[followed]
    projection: Any = followed() if isinstance(followed, type) else followed
    for known in declared.values():
        if type(known.projection) is type(projection):
            return replace(known, projection=projection)
    name = type(projection).__name__
    return Subscription(name, projection, configured(name, SubscriptionConfig()))
