"""What the page of one dead letter shows: the event, what failed, and the queue of its aggregate behind it."""

from dataclasses import dataclass
from typing import Final

from django.contrib.admin.models import LogEntry

from eventsource_app.admin.audit import entries_about
from eventsource_app.admin.operating import OPEN_STATES
from eventsource_app.models import Checkpoint, DeadLetter, Event

SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Waiting:
    """One later event of the aggregate, and its own letter where it has one."""

    event: Event
    letter: DeadLetter | None


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Everything about one letter. ``event`` is ``None`` where the log does not have it any more (a restored backup)."""

    letter: DeadLetter
    event: Event | None
    checkpoint: Checkpoint | None
    queue: tuple[Waiting, ...]
    has_more: bool
    entries: tuple[LogEntry, ...]

    @property
    def is_open(self) -> bool:
        return self.letter.state in OPEN_STATES

    @property
    def is_replaying(self) -> bool:
        """Its event is done with, and events behind it are still to be replayed."""
        return not self.is_open and self.letter.replayed_through is not None

    @property
    def attempt_count(self) -> int:
        return self.letter.retry_count + 1


def letter_page(letter: DeadLetter) -> LetterPage:
    """Read what belongs to a letter: five statements."""
    rows = Checkpoint.objects.filter(subscription=letter.subscription)
    checkpoint = next((row for row in rows if letter.slot % row.partition_count == row.partition), None)
    queue = _queue(letter, checkpoint)
    return LetterPage(
        letter,
        Event.objects.filter(position=letter.position).first(),
        checkpoint,
        tuple(queue[:SHOWN]),
        len(queue) > SHOWN,
        tuple(entries_about(letter)),
    )


def _queue(letter: DeadLetter, checkpoint: Checkpoint | None) -> list[Waiting]:
    """Return the events that the checkpoint has passed and the aggregate still waits for, in order, and one more than shown."""
    if letter.scope != "aggregate" or checkpoint is None:
        return []
    is_closed = letter.state not in OPEN_STATES
    if is_closed and letter.replayed_through is None:
        return []
    after = letter.replayed_through if is_closed and letter.replayed_through else letter.position
    found = Event.objects.filter(
        aggregate_id=letter.aggregate_id,
        aggregate_type=letter.aggregate_type,
        position__gt=after,
        position__lte=checkpoint.position,
    )
    if checkpoint.handled_types is not None:
        found = found.filter(event_type__in=checkpoint.handled_types)
    events = list(found.order_by("aggregate_version")[: SHOWN + 1])
    positions = [event.position for event in events]
    letters = {
        each.position: each
        for each in DeadLetter.objects.filter(subscription=letter.subscription, position__in=positions)
    }
    return [Waiting(event, letters.get(event.position)) for event in events]
