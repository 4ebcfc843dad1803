"""``python -m tests.chaos.writer SEED FILE``: appends until SIGTERM, and notes in FILE what it was told.

``+id``: the append was acknowledged, so the event must be in the log. ``-id``: it was rolled back, so it must not.
An append whose answer was lost is noted as neither.
"""

import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from uuid import UUID

import django
from django.db import DatabaseError, InterfaceError, connection, transaction

from eventsource_app.events import DomainEvent
from eventsource_app.store import EventStore, ExpectedVersion, StreamId, WrongExpectedVersionError
from eventsource_app.store.notifications import close_wake_ups
from eventsource_app.store.session import leave_pool
from tests.chaos.projections import AGGREGATE, ChaosAdded, ChaosTaken, registry
from tests.chaos.tables import HOT_AGGREGATES, aggregate_ids

MEAN_PAUSE_SECONDS = 0.02


class RolledBackError(Exception):
    """The writer changed its mind."""


class Writer:
    """Appends to streams that others write too."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice
        self._store = EventStore(registry=registry)
        self._streams = [StreamId(AGGREGATE, aggregate_id) for aggregate_id in aggregate_ids()]

    def write(self) -> list[str]:
        """Append something; return the notes about it."""
        ids: list[UUID] = []
        sign = "+"
        try:
            if self._choice.random() < 0.15:
                self._append_slowly(ids)
            else:
                ids = self._append()
        except (RolledBackError, WrongExpectedVersionError):
            sign = "-"
        except (DatabaseError, InterfaceError):
            connection.close()
            time.sleep(0.1)
            return []
        return [f"{sign}{event_id}\n" for event_id in ids]

    def pause(self) -> None:
        time.sleep(min(self._choice.expovariate(1 / MEAN_PAUSE_SECONDS), 1))

    def _append(self) -> list[UUID]:
        hot = self._choice.random() < 0.5
        stream = self._choice.choice(self._streams[:HOT_AGGREGATES] if hot else self._streams)
        version = self._store.stream_version(stream)
        count = self._choice.choice((1, 1, 1, 2, 3))
        events = [self._event(stream, number) for number in range(version + 1, version + 1 + count)]
        expected = ExpectedVersion.exact(version) if version else ExpectedVersion.NO_STREAM
        self._store.append(stream, events, expected)
        return [event.event_id for event in events]

    def _event(self, stream: StreamId, version: int) -> DomainEvent:
        event_class = self._choice.choice((ChaosAdded, ChaosTaken))
        amount = self._choice.randrange(1000)
        return event_class(aggregate_id=stream.aggregate_id, aggregate_version=version, amount=amount)

    def _append_slowly(self, ids: list[UUID]) -> None:
        """Several appends in one transaction that takes its time, and is sometimes rolled back."""
        with transaction.atomic():
            for _ in range(self._choice.randrange(1, 4)):
                ids += self._append()
                time.sleep(self._choice.uniform(0, 0.1))
            if self._choice.random() < 0.3:
                raise RolledBackError


def main(seed: int, path: Path) -> int:
    django.setup()
    leave_pool("default")
    stopping: list[bool] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.append(True)

    signal.signal(signal.SIGTERM, stop)
    writer = Writer(random.Random(seed))
    with path.open("a", encoding="ascii") as notes:
        while not stopping:
            notes.writelines(writer.write())
            notes.flush()
            writer.pause()
    close_wake_ups()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
