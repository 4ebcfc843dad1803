"""The repository: loads aggregates, saves what they decided, and tries again after a lost race."""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connections
from psycopg.errors import ConnectionTimeout
from psycopg_pool import PoolTimeout

from eventsource_app.aggregates.aggregate import AggregateRoot
from eventsource_app.aggregates.snapshot_policy import SnapshotPolicy
from eventsource_app.aggregates.snapshotting import Snapshotter
from eventsource_app.events.event import DomainEvent
from eventsource_app.exceptions import EventSourceError
from eventsource_app.observability import tracing
from eventsource_app.observability.correlation import (
    current_actor_id,
    current_causation_id,
    current_correlation_id,
)
from eventsource_app.observability.spans import Spans
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.spans import aggregate_span, stamped
from eventsource_app.store.streams import AppendResult, ExpectedVersion, StreamId, WrongExpectedVersionError

Aggregate = TypeVar("Aggregate", bound=AggregateRoot)  # type: ignore[type-arg]
Value = TypeVar("Value")
RETRIES = 5
FIRST_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 0.2
# Whoever meets these has waited for a connection for as long as may be: each retry would wait as long again.
WAITED = (PoolTimeout, ConnectionTimeout)


class AggregateNotFoundError(EventSourceError):
    """There is no event of the aggregate."""

    def __init__(self, aggregate_type: str, aggregate_id: UUID) -> None:
        super().__init__(f"There is no {aggregate_type} {aggregate_id}; check the id, or create it first.")
        self.aggregate_type, self.aggregate_id = aggregate_type, aggregate_id


class AggregateRepository(Generic[Aggregate]):
    """Aggregates of one type in one event store.

    ``aggregate_factory(aggregate_id)`` makes an empty one, usually the class itself. With a ``snapshot_policy`` the
    factory must be the class, whose state pydantic can read and write.
    """

    def __init__(
        self,
        *,
        event_store: EventStore,
        aggregate_factory: Callable[[UUID], Aggregate],
        aggregate_type: str,
        snapshot_policy: SnapshotPolicy | None = None,
        enable_tracing: bool = True,
    ) -> None:
        self._store = event_store
        self._factory = aggregate_factory
        self._type = aggregate_type
        self._snapshots = _snapshotter(event_store, aggregate_factory, snapshot_policy)
        self.enable_tracing = enable_tracing

    def create_new(self, aggregate_id: UUID) -> Aggregate:
        """Return an aggregate without events; saving it fails if the stream exists by then."""
        return self._factory(aggregate_id)

    def load(self, aggregate_id: UUID) -> Aggregate:
        """Return the aggregate with all its events applied; raises ``AggregateNotFoundError``."""
        aggregate = self.load_or_create(aggregate_id)
        if aggregate.version == 0:
            raise AggregateNotFoundError(self._type, aggregate_id)
        return aggregate

    def load_or_create(self, aggregate_id: UUID) -> Aggregate:
        """Return the aggregate as it is, or a new one where there is none."""
        stream, spans = StreamId(self._type, aggregate_id), self._spans()
        if spans is None:
            return self._load(aggregate_id, stream)
        with aggregate_span(spans, "load", stream):
            return self._load(aggregate_id, stream)

    def exists(self, aggregate_id: UUID) -> bool:
        return self._store.stream_version(StreamId(self._type, aggregate_id)) > 0

    def save(self, aggregate: Aggregate) -> AppendResult:
        """Append what the aggregate decided, expecting the stream where it was loaded.

        With nothing decided nothing is sent. Events without a correlation or causation id get those of the request or
        of the causing event. Raises ``WrongExpectedVersionError`` after a lost race.
        """
        if not aggregate.uncommitted_events:
            return AppendResult(aggregate.version, aggregate.position)
        spans, stream = self._spans(), StreamId(self._type, aggregate.aggregate_id)
        events = [_with_context(event) for event in aggregate.uncommitted_events]
        if spans is None:
            return self._save(aggregate, stream, events)
        cause = spans.traceparent()
        with aggregate_span(spans, "save", stream):
            return self._save(aggregate, stream, stamped(events, cause))

    def execute(
        self, aggregate_id: UUID, command: Callable[[Aggregate], object], retries: int = RETRIES
    ) -> AppendResult:
        """Load, run ``command(aggregate)``, save; decide anew after a lost race, up to ``retries`` times.

        After a lost connection the very same events are appended again, so the command happens once whatever became
        of the first try. Inside a transaction of the caller nothing is retried: it is the caller's to repeat.
        """
        attempt = 0
        while True:
            aggregate = self._through_outage(partial(self.load, aggregate_id), retries)
            command(aggregate)
            try:
                return self._through_outage(partial(self.save, aggregate), retries)
            except WrongExpectedVersionError:
                if attempt >= retries or self._in_transaction():
                    raise
            time.sleep(_delay(attempt))
            attempt += 1

    def _load(self, aggregate_id: UUID, stream: StreamId) -> Aggregate:
        aggregate = self._factory(aggregate_id)
        if self._snapshots is not None and self._snapshots.restore(aggregate, stream):
            return aggregate
        events, position = self._store.replay(stream)
        aggregate.load_from_history(events)
        aggregate.mark_stored(position)
        return aggregate

    def _save(self, aggregate: Aggregate, stream: StreamId, events: Sequence[DomainEvent]) -> AppendResult:
        aggregate.replace_uncommitted(events)
        before = aggregate.version - len(events)
        result = self._store.append(stream, events, ExpectedVersion.exact(before))
        aggregate.mark_stored(result.position)
        if self._snapshots is not None:
            last = RecordedEvent(result.position, events[-1], events[-1].occurred_at)
            self._snapshots.take_if_due(aggregate, stream, before, last)
        return result

    def _through_outage(self, action: Callable[[], Value], retries: int) -> Value:
        """Do it, and after a lost connection again on a new one; only what may happen twice is done here."""
        for attempt in range(retries):
            if self._in_transaction():
                break
            try:
                return action()
            except (OperationalError, InterfaceError) as error:
                if self._connection_is_usable() or isinstance(error.__cause__, WAITED):
                    raise
                time.sleep(_delay(attempt))
                connections[self._store.using].close()
        return action()

    def _spans(self) -> Spans | None:
        return tracing.spans if self.enable_tracing else None

    def _in_transaction(self) -> bool:
        """Say whether what the caller did before could be lost with the connection: with autocommit off it always could."""
        connection = connections[self._store.using]
        return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)

    def _connection_is_usable(self) -> bool:
        connection = connections[self._store.using]
        return (
            connection.connection is not None and not connection.connection.closed and connection.is_usable()
        )


def _delay(attempt: int) -> float:
    """Return seconds to wait before the next attempt: exponential, with full jitter so that rivals part."""
    return random.uniform(0, min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**attempt))  # noqa: S311


def _with_context(event: DomainEvent) -> DomainEvent:
    update: dict[str, object] = {}
    if event.correlation_id is None and (correlation_id := current_correlation_id()):
        update["correlation_id"] = correlation_id
    if event.causation_id is None and (causation_id := current_causation_id()):
        update["causation_id"] = causation_id
    if event.actor_id is None and (actor_id := current_actor_id()):
        update["actor_id"] = actor_id
    return event.model_copy(update=update) if update else event


def _snapshotter(
    store: EventStore, factory: object, policy: SnapshotPolicy | None
) -> "Snapshotter[object] | None":
    if policy is None:
        return None
    if not (isinstance(factory, type) and issubclass(factory, AggregateRoot)):
        raise TypeError(f"Snapshots need an aggregate class as the aggregate_factory, not {factory!r}.")
    return Snapshotter(store, factory, policy)
