"""What one request caused: its events in order, as a tree by causation, and the dead letters among them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from eventsource_app.admin.event_search import correlated
from eventsource_app.models import Checkpoint, DeadLetter, Event

SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Node:
    """One event, how deep in the tree, and the letters that are about it."""

    event: Event
    depth: int
    # The event that caused it, where that is not one of these.
    cause: UUID | None
    letters: tuple[DeadLetter, ...]

    @property
    def indent(self) -> str:
        return "desk-depth-" + str(min(self.depth, 6))


@dataclass(frozen=True, slots=True)
class CorrelationPage:
    correlation_id: str
    nodes: tuple[Node, ...]
    stream_count: int
    seconds: float
    has_more: bool


def correlation_page(correlation_id: str) -> CorrelationPage | None:
    """Read the page; ``None`` when no event has that id. Raises ``SearchTooSlowError``."""
    events = correlated(correlation_id, SHOWN + 1)
    if not events:
        return None
    shown = events[:SHOWN]
    nodes = tuple(tree(shown, _letters(shown)))
    span = max(event.recorded_at for event in shown) - min(event.recorded_at for event in shown)
    streams = {(event.aggregate_type, event.aggregate_id) for event in shown}
    return CorrelationPage(correlation_id, nodes, len(streams), span.total_seconds(), len(events) > SHOWN)


def tree(events: Iterable[Event], letters: dict[int, list[DeadLetter]] | None = None) -> list[Node]:
    """Order the events so that each comes after its cause, siblings as in the log; no depth of recursion."""
    ordered = sorted(events, key=lambda event: event.position)
    positions = {event.event_id: event.position for event in ordered}
    children: dict[UUID | None, list[Event]] = {}
    for event in ordered:
        # A cause comes before its effect: anything else would be a circle, and is a root here.
        is_inside = event.causation_id in positions and positions[event.causation_id] < event.position
        children.setdefault(event.causation_id if is_inside else None, []).append(event)
    stack = [(event, 0) for event in reversed(children.get(None, []))]
    nodes: list[Node] = []
    while stack:
        event, depth = stack.pop()
        cause = event.causation_id if depth == 0 else None
        nodes.append(Node(event, depth, cause, tuple((letters or {}).get(event.position, ()))))
        stack += [(child, depth + 1) for child in reversed(children.get(event.event_id, []))]
    return nodes


def _letters(events: list[Event]) -> dict[int, list[DeadLetter]]:
    names = list(Checkpoint.objects.values_list("subscription", flat=True).distinct())
    found: dict[int, list[DeadLetter]] = {}
    positions = [event.position for event in events]
    for letter in DeadLetter.objects.filter(subscription__in=names, position__in=positions):
        found.setdefault(letter.position, []).append(letter)
    return found
