"""Replaying a stream for people: the state after each version, as JSON, as far as it can be told."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from eventsource_app.aggregates.aggregate import AggregateRoot, state_type_of
from eventsource_app.aggregates.registry import registered_aggregate
from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.streams import StreamId

CHUNK: Final = 500
# What a page may take: about a quarter of a second.
MOST_VERSIONS: Final = 5_000


class ReplayError(EventSourceError):
    """The state at some version cannot be told; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs between two states; ``None`` where it is absent."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class States:
    """The states from ``first`` on, each with what its event changed, and why there are no more (empty: all were told)."""

    by_version: dict[int, Any]
    changes: dict[int, tuple[Change, ...]]
    problem: str = ""


def states(stream: StreamId, first: int, last: int, *, store: EventStore | None = None) -> States:
    """Replay from the stream's beginning and return the states of the versions ``first`` to ``last``."""
    found: dict[int, Any] = {}
    changes: dict[int, tuple[Change, ...]] = {}
    problem = ""
    before: Any = None
    try:
        for version, state in _replay(stream, first - 1, last, store or EventStore()):
            if version >= first:
                found[version], changes[version] = state, difference(before, state)
            before = state
    except ReplayError as error:
        problem = str(error)
    return States(found, changes, problem)


def difference(before: Any, after: Any) -> tuple[Change, ...]:
    """Return the fields that differ, by their dotted paths, in the order of the new state."""
    old, new = dict(_leaves(before, "")), dict(_leaves(after, ""))
    paths = [*new, *(path for path in old if path not in new)]
    return tuple(
        Change(path, old.get(path), new.get(path))
        for path in paths
        if path not in old or path not in new or old[path] != new[path]
    )


def _replay(stream: StreamId, first: int, last: int, store: EventStore) -> Iterator[tuple[int, Any]]:
    """Give (version, state) from ``first`` on; version 0 is the state before any event."""
    factory = registered_aggregate(stream.aggregate_type)
    if factory is None:
        raise ReplayError(
            f"No aggregate class is registered for type {stream.aggregate_type!r}, so there is no state to show; decorate "
            "it with @register_aggregate."
        )
    if last > MOST_VERSIONS:
        raise ReplayError(
            f"States are replayed up to version {MOST_VERSIONS:,} here; version {last:,} would take too long for a page."
        )
    aggregate = factory(stream.aggregate_id)
    adapter: TypeAdapter[Any] = TypeAdapter(state_type_of(type(aggregate)))
    if first <= 0:
        yield 0, _dumped(adapter, aggregate, 0)
    for start in range(1, last + 1, CHUNK):
        for recorded in store.read_stream(stream, start, min(last, start + CHUNK - 1)):
            _apply(aggregate, recorded)
            if recorded.aggregate_version >= first:
                yield recorded.aggregate_version, _dumped(adapter, aggregate, recorded.aggregate_version)


def _apply(aggregate: AggregateRoot[Any], recorded: RecordedEvent) -> None:
    try:
        aggregate.apply_event(recorded.event, is_new=False)
    except Exception as error:  # an event that cannot be read, or whatever the aggregate's own code raises
        raise ReplayError(
            f"The state from version {recorded.aggregate_version} on cannot be told: its event {recorded.event_type} "
            f"failed with {type(error).__name__}: {error}"
        ) from error


def _dumped(adapter: TypeAdapter[Any], aggregate: AggregateRoot[Any], version: int) -> Any:
    try:
        return adapter.dump_python(aggregate.state, mode="json")
    except Exception as error:  # a state of any class: what pydantic cannot write is not shown
        raise ReplayError(
            f"The state at version {version} cannot be written as JSON: {type(error).__name__}."
        ) from error


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif value is not None or path:
        yield path or "state", value
