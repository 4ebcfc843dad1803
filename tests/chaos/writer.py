"""``python -m tests.chaos.writer SEED AGGREGATES FILE``: appends until SIGTERM, and notes in FILE what it was told.

``+id``: the append was acknowledged, so the event must be in the log. ``-id``: it was rolled back, so it must not.
An append whose answer was lost is noted as neither.
"""

import random
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import IO
from uuid import UUID

import django

MEAN_PAUSE_SECONDS = 0.015
# Every other append goes to one of the first few aggregates, where the traps are.
HOT_AGGREGATES = 15


class RolledBackError(Exception):
    """The writer changed its mind."""


def main(seed: int, aggregates: int, path: str) -> int:
    django.setup()
    from eventsource_app.store.notifications import close_wake_ups

    stopping: list[bool] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(True)

    signal.signal(signal.SIGTERM, stop)
    with open(path, "a", encoding="ascii") as notes:  # noqa: PTH123
        write = _writer(random.Random(seed), aggregates, notes)
        while not stopping:
            write()
    close_wake_ups()
    return 0


def aggregate_ids(count: int) -> list[UUID]:
    """The aggregates that all writers share, the same for everybody."""
    numbers = random.Random(4)
    return [UUID(int=numbers.getrandbits(128), version=4) for _ in range(count)]


def _writer(choice: random.Random, aggregates: int, notes: IO[str]) -> Callable[[], None]:
    from django.db import DatabaseError, InterfaceError, connection, transaction

    from eventsource_app.events import DomainEvent
    from eventsource_app.store import EventStore, ExpectedVersion, StreamId, WrongExpectedVersionError
    from tests.chaos.projections import AGGREGATE, ChaosAdded, ChaosTaken, registry

    store = EventStore(registry=registry)
    streams = [StreamId(AGGREGATE, aggregate_id) for aggregate_id in aggregate_ids(aggregates)]

    def append() -> list[UUID]:
        stream = choice.choice(streams if choice.random() < 0.5 else streams[:HOT_AGGREGATES])
        version = store.stream_version(stream)
        events: list[DomainEvent] = [
            choice.choice((ChaosAdded, ChaosTaken))(
                aggregate_id=stream.aggregate_id, aggregate_version=number, amount=choice.randrange(1000)
            )
            for number in range(version + 1, version + 1 + choice.choice((1, 1, 1, 2, 3)))
        ]
        expected = ExpectedVersion.exact(version) if version else ExpectedVersion.NO_STREAM
        store.append(stream, events, expected)
        return [event.event_id for event in events]

    def append_slowly(ids: list[UUID]) -> None:
        """Several appends in one transaction that takes its time, and is sometimes rolled back."""
        with transaction.atomic():
            for _ in range(choice.randrange(1, 4)):
                ids += append()
                time.sleep(choice.uniform(0, 0.1))
            if choice.random() < 0.3:
                raise RolledBackError

    def once() -> None:
        ids: list[UUID] = []
        sign = "+"
        try:
            if choice.random() < 0.15:
                append_slowly(ids)
            else:
                ids = append()
        except (RolledBackError, WrongExpectedVersionError):
            sign = "-"
        except (DatabaseError, InterfaceError):
            connection.close()
            time.sleep(0.1)
            return
        notes.writelines(f"{sign}{event_id}\n" for event_id in ids)
        notes.flush()
        time.sleep(min(choice.expovariate(1 / MEAN_PAUSE_SECONDS), 1))

    return once


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
