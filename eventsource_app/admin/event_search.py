"""Finding events in a log of any size: by index, or within a window of positions, and never longer than a few seconds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import OperationalError, connections, transaction
from psycopg import errors as pg

from eventsource_app.exceptions import EventSourceError
from eventsource_app.models import Event
from eventsource_app.store.session import log_database

PER_PAGE: Final = 50
# A type has no index of its own: so many positions are looked through at a time.
WINDOW: Final = 50_000
SEARCH_SECONDS: Final = 5
# The BRIN index names the blocks that may have the id. Without an ORDER BY: it would tempt the planner to walk the
# primary key from the end until enough are found.
CORRELATED: Final = "SELECT position FROM eventsource_app_event WHERE correlation_id = %s LIMIT %s"


class SearchTooSlowError(EventSourceError):
    """The log is too large for this search as its index stands."""

    def __init__(self) -> None:
        super().__init__(
            f"The search took longer than {SEARCH_SECONDS} seconds and was ended; `VACUUM eventsource_app_event` brings the "
            "index of correlation ids up to date, then search again."
        )


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first. ``before`` and ``after`` lead to older and newer pages; ``looked_down_to`` is set where a
    window of positions was looked through and the rest was not."""

    events: tuple[Event, ...]
    before: int | None = None
    after: int | None = None
    looked_down_to: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, by what was meant: an event, streams (one event of each), or a correlation id."""

    event: Event | None = None
    streams: tuple[Event, ...] = ()
    correlated: tuple[Event, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return not (self.event or self.streams or self.correlated)


def browse(before: int | None = None, after: int | None = None) -> EventPage:
    """Return a page below or above a position, by the primary key alone."""
    if after is not None:
        rows = list(Event.objects.filter(position__gt=after).order_by("position")[: PER_PAGE + 1])
        shown = rows[:PER_PAGE][::-1]
        newer = shown[0].position if shown and len(rows) > PER_PAGE else None
        return EventPage(tuple(shown), shown[-1].position if shown else None, newer)
    below = Event.objects.all() if before is None else Event.objects.filter(position__lt=before)
    rows = list(below.order_by("-position")[: PER_PAGE + 1])
    shown = rows[:PER_PAGE]
    older = shown[-1].position if len(rows) > PER_PAGE else None
    return EventPage(tuple(shown), older, shown[0].position if before is not None and shown else None)


def browse_type(event_type: str, before: int | None = None) -> EventPage:
    """Return a page of one type below a position, from one window of positions."""
    top = before if before is not None else _last_position() + 1
    bottom = max(0, top - WINDOW)
    found = Event.objects.filter(event_type=event_type, position__lt=top, position__gte=bottom)
    rows = list(found.order_by("-position")[: PER_PAGE + 1])
    if len(rows) > PER_PAGE:
        return EventPage(tuple(rows[:PER_PAGE]), rows[PER_PAGE - 1].position)
    older = bottom if bottom > 1 else None
    return EventPage(tuple(rows), older, looked_down_to=bottom if older else None)


def search(text: str) -> Found:
    """Find what a text means: a UUID is an event's, an aggregate's or a correlation id; other text the last."""
    wanted = _uuid(text)
    event = Event.objects.filter(event_id=wanted).first() if wanted else None
    streams = _streams(wanted) if wanted else []
    found = [] if event or streams else correlated(text, PER_PAGE + 1)
    return Found(event, tuple(streams), tuple(found))


def correlated(correlation_id: str, limit: int) -> list[Event]:
    """Return up to ``limit`` events of one correlation id in the log's order; raises ``SearchTooSlowError``."""
    using = log_database()
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{SEARCH_SECONDS}s'")
            cursor.execute(CORRELATED, (correlation_id, limit))
            positions = [row[0] for row in cursor.fetchall()]
    except OperationalError as error:
        if isinstance(error.__cause__, pg.QueryCanceled):
            raise SearchTooSlowError from error
        raise
    return list(Event.objects.filter(position__in=positions).order_by("position"))


def _streams(aggregate_id: UUID) -> list[Event]:
    """Return the last event of each stream of that id: step from type to type along the index."""
    found: list[Event] = []
    rows = Event.objects.filter(aggregate_id=aggregate_id).order_by("aggregate_type", "aggregate_version")
    after = ""
    while len(found) < PER_PAGE and (row := rows.filter(aggregate_type__gt=after).first()):
        after = row.aggregate_type
        last = rows.filter(aggregate_type=after).order_by("-aggregate_version").first()
        found.append(last or row)
    return found


def _last_position() -> int:
    newest: Iterable[int] = Event.objects.order_by("-position").values_list("position", flat=True)[:1]
    return next(iter(newest), 0)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None
