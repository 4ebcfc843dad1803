"""What the workers run: four subscriptions, each configured another way, whose handlers spring the traps."""

import os
import signal
import time
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.db import DatabaseError, connection

from eventsource_app.events import DomainEvent, EventRegistry, register_event
from eventsource_app.store import RecordedEvent
from eventsource_app.subscriptions import Projection, SubscriptionConfig, SubscriptionManager, handles

AGGREGATE = "Chaos"
registry = EventRegistry()


@register_event(registry=registry)
class ChaosAdded(DomainEvent):
    aggregate_type: str = AGGREGATE
    amount: int


@register_event(registry=registry)
class ChaosTaken(DomainEvent):
    aggregate_type: str = AGGREGATE
    amount: int


ChaosEvent = ChaosAdded | ChaosTaken
FIND_TRAP = """
SELECT kind FROM chaos_trap WHERE subscription = %s AND healed_at IS NULL
   AND (aggregate_id IS NULL OR (aggregate_id = %s AND version = %s)) LIMIT 1
"""
ADD_LINE = "INSERT INTO chaos_line (subscription, position, aggregate_id, version, amount) VALUES (%s, %s, %s, %s, %s)"
FOLD = """
INSERT INTO chaos_fold AS old (subscription, aggregate_id, version, event_count, amount, digest)
VALUES (%(name)s, %(id)s, %(version)s, 1, %(amount)s, md5(%(text)s))
ON CONFLICT (subscription, aggregate_id) DO UPDATE SET
    version = excluded.version, event_count = old.event_count + 1, amount = old.amount + excluded.amount,
    digest = md5(old.digest || %(text)s)
"""
NOTE_REBUILD = """
INSERT INTO chaos_rebuild (subscription, processed_before)
SELECT subscription, sum(events_processed) FROM eventsource_app_checkpoint WHERE subscription = %s GROUP BY subscription
"""
EMPTY = ("DELETE FROM chaos_line WHERE subscription = %s", "DELETE FROM chaos_fold WHERE subscription = %s")
# Each is the event's own fault, found at another moment: in Python, in a statement, in the statement after a swallowed
# error, at COMMIT, at the statement timeout, or never, since the process is gone. The last one looks like a deadlock.
SQL_TRAPS = {
    "statement": "SELECT 1 / 0",
    "commit": "INSERT INTO chaos_once VALUES (1), (1)",
    "hang": "SELECT pg_sleep(60)",
    "deadlock": "DO $$ BEGIN RAISE EXCEPTION 'chaos' USING ERRCODE = '40P01'; END $$",
}


# Handlers that hang in Python, where nothing can cancel them: beyond their time limit and the lease, or for good.
PYTHON_HANGS = {"stall": 8.0, "stuck": 600.0}


class TrapError(ValueError):
    """The trap's own error."""


def run_sql(sql: str, params: Any = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def apply(name: str, recorded: RecordedEvent) -> None:
    """Write the event into both read models, and then spring its trap: a failure must take the writes back."""
    event = recorded.event
    assert isinstance(event, ChaosEvent)
    version = event.aggregate_version
    run_sql(ADD_LINE, (name, recorded.position, event.aggregate_id, version, event.amount))
    fold = {"name": name, "id": event.aggregate_id, "version": version, "amount": event.amount}
    run_sql(FOLD, {**fold, "text": f"{version}:{event.amount};"})
    kind = find_trap(name, event.aggregate_id, version)
    if kind is not None:
        spring(kind, f"{name} at {recorded.position}")


def find_trap(name: str, aggregate_id: UUID, version: int) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(FIND_TRAP, (name, aggregate_id, version))
        row = cursor.fetchone()
    return None if row is None else str(row[0])


def spring(kind: str, place: str) -> None:
    os.write(2, f"Trap sprung: {kind}, {place}\n".encode())
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind in PYTHON_HANGS:
        time.sleep(PYTHON_HANGS[kind])
    elif kind in SQL_TRAPS:
        run_sql(SQL_TRAPS[kind])
    elif kind == "swallow":
        try:
            run_sql(SQL_TRAPS["statement"])
        except DatabaseError:
            return
    else:
        raise TrapError(f"Trap {kind}, {place}.")


class _Emptied(Projection):
    name: ClassVar[str]

    def reset(self) -> None:
        for statement in (NOTE_REBUILD, *EMPTY):
            run_sql(statement, [self.name])


class _EventByEvent(_Emptied):
    def write(self, recorded: RecordedEvent) -> None:
        apply(self.name, recorded)


class Each(_EventByEvent):
    """The plain case: every event, a commit per batch."""

    name = "chaos-each"

    @handles(ChaosAdded, ChaosTaken)
    def on_event(self, event: ChaosEvent, recorded: RecordedEvent) -> None:
        self.write(recorded)


class Parts(_EventByEvent):
    """The same, split into four partitions."""

    name = "chaos-parts"

    @handles(ChaosAdded, ChaosTaken)
    def on_event(self, event: ChaosEvent, recorded: RecordedEvent) -> None:
        self.write(recorded)


class Taken(_EventByEvent):
    """One of the two types only, a commit per event."""

    name = "chaos-taken"

    @handles(ChaosTaken)
    def on_event(self, event: ChaosTaken, recorded: RecordedEvent) -> None:
        self.write(recorded)


class Batches(_Emptied):
    """Whole batches, several of them in a commit."""

    name = "chaos-batches"
    handled_events: ClassVar[Sequence[type[DomainEvent]]] = (ChaosAdded, ChaosTaken)

    def handle_batch(self, recorded: list[RecordedEvent]) -> None:
        for each in recorded:
            apply(self.name, each)


PROJECTIONS = (Each, Parts, Taken, Batches)
# Short times, so that minutes hold many failures.
COMMON: dict[str, Any] = {
    "batch_size": 20,
    "processing_timeout": 1.5,
    "max_retries": 6,
    "initial_retry_delay": 0.2,
    "max_retry_delay": 1.0,
    "circuit_breaker_recovery_timeout": 1.0,
}
OWN: dict[str, dict[str, Any]] = {
    "chaos-parts": {"partitions": 4},
    "chaos-taken": {"checkpoint_strategy": "every_event"},
    "chaos-batches": {"checkpoint_strategy": "periodic", "checkpoint_interval_seconds": 0.5},
}


def config_of(name: str) -> SubscriptionConfig:
    return SubscriptionConfig(**{**COMMON, **OWN.get(name, {})})


def subscribe_all(manager: SubscriptionManager) -> None:
    for projection in PROJECTIONS:
        manager.subscribe(projection, config_of(projection.name), projection.name)
