"""A read model that remembers every delivery, doubles and all, and a world in which real workers run on it."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Self
from uuid import UUID

from django.db import connection, connections

from eventsource_app.models import Checkpoint, DeadLetter
from eventsource_app.store import EventStore, ExpectedVersion, RecordedEvent, StreamId
from eventsource_app.subscriptions import (
    ErrorInfo,
    Projection,
    ShutdownResult,
    SubscriptionConfig,
    SubscriptionManager,
    handles,
)
from tests.builders import MoneyPaidIn, a_store, a_stream, payments
from tests.waiting import wait_for

NAME = "ledger"
# No key: an event that is delivered twice has two rows. `number` is the order of delivery.
MAKE_TABLE = """
DROP TABLE IF EXISTS ledger_line CASCADE;
CREATE TABLE ledger_line (
    number bigint GENERATED ALWAYS AS IDENTITY, position bigint NOT NULL, aggregate_id uuid NOT NULL, version int NOT NULL)
"""
ADD_LINE = "INSERT INTO ledger_line (position, aggregate_id, version) VALUES (%s, %s, %s)"
QUICK: dict[str, Any] = {
    "batch_size": 10,
    "initial_retry_delay": 0.05,
    "max_retry_delay": 0.1,
    "retry_jitter": 0.0,
    "circuit_breaker_recovery_timeout": 0.3,
}

NEVER_AGAIN: dict[str, Any] = {"initial_retry_delay": 3600, "max_retry_delay": 3600}

Spot = tuple[UUID, int]  # aggregate and version
Trap = Callable[[], object]


def run_sql(sql: str, params: Sequence[Any] = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def query(sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


def plain_parameters() -> dict[str, Any]:
    """What psycopg.connect needs for a connection of the test's own, beside Django's."""
    settings = connection.settings_dict
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "dbname"}
    return {
        **{ours: str(settings[theirs]) for theirs, ours in names.items() if settings[theirs]},
        **({"host": settings["OPTIONS"]["host"]} if "host" in settings["OPTIONS"] else {}),
    }


class Ledger(Projection):
    """Writes a line, then springs the trap that is laid at this event, so that a failure comes after the write."""

    def __init__(self) -> None:
        self.traps: dict[Spot, Trap] = {}
        self.attempts: list[Spot] = []

    @handles(MoneyPaidIn)
    def write_a_line(self, event: MoneyPaidIn, recorded: RecordedEvent) -> None:
        spot = (event.aggregate_id, event.aggregate_version)
        self.attempts.append(spot)
        run_sql(ADD_LINE, (recorded.position, *spot))
        self.traps.get(spot, lambda: None)()

    def fails_at(self, stream: StreamId, version: int, error: Exception | type[Exception]) -> None:
        def fail() -> None:
            raise error

        self.traps[stream.aggregate_id, version] = fail

    def is_fixed(self) -> None:
        self.traps = {}


class BatchLedger(Projection):
    """The same by ``handle_batch``: the traps of the whole slice, after all its lines are written."""

    handled_events = (MoneyPaidIn,)

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.sizes: list[int] = []

    def handle_batch(self, recorded: list[RecordedEvent]) -> None:
        self.sizes.append(len(recorded))
        for each in recorded:
            self.ledger.handle(each)


class World:
    """A log of accounts, and managers that run subscriptions on it in threads of this process."""

    def __init__(self) -> None:
        self.store: EventStore = a_store()
        self.ledger = Ledger()
        self.errors: list[ErrorInfo] = []
        self.managers: list[SubscriptionManager] = []

    # The log

    def pay_in(self, stream: StreamId, count: int = 1) -> int:
        """Append payments to the account; return the position of the last."""
        version = self.store.stream_version(stream)
        return self.store.append(
            stream, payments(stream, count, version + 1), ExpectedVersion.exact(version)
        ).position

    def accounts(self, count: int) -> list[StreamId]:
        """Return accounts with one payment each, in this order in the log."""
        streams = [a_stream() for _ in range(count)]
        for stream in streams:
            self.pay_in(stream)
        return streams

    # The workers

    def manager(self, lease_seconds: float = 10.0) -> SubscriptionManager:
        """Return a manager that collects errors and that the fixture stops."""
        manager = SubscriptionManager(
            event_store=self.store, shutdown_timeout=10, drain_timeout=5, lease_seconds=lease_seconds
        )
        manager.on_error(self.errors.append)
        self.managers.append(manager)
        return manager

    def start(
        self, projection: Projection | None = None, name: str = NAME, **config: Any
    ) -> SubscriptionManager:
        manager = self.manager()
        manager.subscribe(projection or self.ledger, SubscriptionConfig(**{**QUICK, **config}), name=name)
        manager.start()
        return manager

    def catch_up(
        self, projection: Projection | None = None, name: str = NAME, **config: Any
    ) -> ShutdownResult:
        """Start, wait for the log's end, stop."""
        manager = self.start(projection, name, **config)
        self.wait_until_caught_up(name)
        return manager.stop()

    def stop(self) -> None:
        for manager in self.managers:
            if manager.shutdown_phase.value == "running":
                manager.stop("the test is over")

    # What came of it

    def wait_until_caught_up(self, name: str = NAME) -> None:
        head = self.store.head_position()
        wait_for(lambda: self.position(name) >= head, what=f"{name} at {head}")

    def checkpoint(self, name: str = NAME) -> Checkpoint:
        return Checkpoint.objects.get(subscription=name)

    def position(self, name: str = NAME) -> int:
        return min(
            Checkpoint.objects.filter(subscription=name).values_list("position", flat=True), default=-1
        )

    def letters(self) -> list[DeadLetter]:
        return list(DeadLetter.objects.order_by("position"))

    def letter(self) -> DeadLetter:
        return DeadLetter.objects.get()

    def delivered(self) -> list[int]:
        """The positions in the order of delivery."""
        return [row[0] for row in query("SELECT position FROM ledger_line ORDER BY number")]

    def versions(self, stream: StreamId) -> list[int]:
        """The versions of one account in the order of delivery."""
        rows = query(
            "SELECT version FROM ledger_line WHERE aggregate_id = %s ORDER BY number", [stream.aggregate_id]
        )
        return [row[0] for row in rows]

    def log(self) -> list[int]:
        """The positions of all payments."""
        return [r.position for r in self.store.read_all(limit=100_000, event_types=[MoneyPaidIn])]

    def assert_each_once(self) -> None:
        assert sorted(self.delivered()) == self.log()


class Gate:
    """A trap in which a handler waits until the test lets it go on."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._reached.set()
        assert self._open.wait(60)

    def wait_until_reached(self) -> None:
        assert self._reached.wait(60)

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()


def in_background(action: Callable[[], object]) -> threading.Thread:
    """Run something beside the test on a connection of its own; join it."""

    def run() -> None:
        try:
            action()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
