"""What the page of one stream shows: a time line with the state at each version, and where each subscription is with it."""

from dataclasses import dataclass
from typing import Any, Final

from eventsource_app.admin.operating import OPEN
from eventsource_app.aggregates.replay import Change, states
from eventsource_app.models import Checkpoint, DeadLetter, Event, Snapshot
from eventsource_app.store.session import fetch_all, log_database
from eventsource_app.store.streams import StreamId

PER_PAGE: Final = 50
# The last version of the stream that each checkpoint has passed.
PASSED: Final = """
SELECT checkpoint, (SELECT aggregate_version FROM eventsource_app_event
                     WHERE aggregate_id = %s AND aggregate_type = %s AND position <= checkpoint
                     ORDER BY aggregate_version DESC LIMIT 1)
  FROM unnest(%s::bigint[]) AS checkpoint
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of the time line, and what it changed (``None``: not known)."""

    event: Event
    changes: tuple[Change, ...] | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where one subscription is with the stream."""

    subscription: str
    partition: int
    version: int
    behind_count: int
    letters: tuple[DeadLetter, ...]

    @property
    def word(self) -> str:
        if self.letters:
            return "waits"
        return "behind" if self.behind_count else "caught up"


@dataclass(frozen=True, slots=True)
class StreamPage:
    """One page of a stream; ``selected`` is the version whose state is shown."""

    stream: StreamId
    last_version: int
    selected: int
    moments: tuple[Moment, ...]
    state: Any
    has_state: bool
    changes: tuple[Change, ...]
    problem: str
    snapshot: Snapshot | None
    places: tuple[Place, ...]

    @property
    def earlier(self) -> int | None:
        """The version to select for the page before."""
        first = self.moments[0].event.aggregate_version
        return first - 1 if first > 1 else None

    @property
    def later(self) -> int | None:
        last = self.moments[-1].event.aggregate_version
        return last + 1 if last < self.last_version else None


def stream_page(stream: StreamId, version: int | None) -> StreamPage | None:
    """Read the page that has a version (the last one by default); ``None`` where there is no such stream."""
    log = Event.objects.filter(aggregate_id=stream.aggregate_id, aggregate_type=stream.aggregate_type)
    newest = log.order_by("-aggregate_version").first()
    if newest is None:
        return None
    last = newest.aggregate_version
    selected = min(max(version or last, 1), last)
    first = (selected - 1) // PER_PAGE * PER_PAGE + 1
    until = min(first + PER_PAGE - 1, last)
    events = log.filter(aggregate_version__gte=first, aggregate_version__lte=until).order_by(
        "aggregate_version"
    )
    told = states(stream, first, until)
    return StreamPage(
        stream,
        last,
        selected,
        tuple(Moment(event, told.changes.get(event.aggregate_version)) for event in events),
        told.by_version.get(selected),
        selected in told.by_version,
        told.changes.get(selected, ()),
        told.problem,
        Snapshot.objects.filter(
            aggregate_id=stream.aggregate_id, aggregate_type=stream.aggregate_type
        ).first(),
        _places(stream, newest),
    )


def _places(stream: StreamId, newest: Event) -> tuple[Place, ...]:
    rows = [
        row
        for row in Checkpoint.objects.order_by("subscription", "partition")
        if newest.slot % row.partition_count == row.partition
    ]
    positions = [row.position for row in rows]
    passed: dict[int, int | None] = dict(
        fetch_all(log_database(), PASSED, (stream.aggregate_id, stream.aggregate_type, positions))
    )
    letters: dict[str, list[DeadLetter]] = {}
    names = [row.subscription for row in rows]
    for letter in DeadLetter.objects.filter(
        OPEN,
        subscription__in=names,
        aggregate_id=stream.aggregate_id,
        aggregate_type=stream.aggregate_type,
    ).order_by("position"):
        letters.setdefault(letter.subscription, []).append(letter)
    return tuple(_place(row, newest, passed.get(row.position) or 0, letters) for row in rows)


def _place(row: Checkpoint, newest: Event, version: int, letters: dict[str, list[DeadLetter]]) -> Place:
    return Place(
        row.subscription,
        row.partition,
        version,
        newest.aggregate_version - version,
        tuple(letters.get(row.subscription, ())),
    )
