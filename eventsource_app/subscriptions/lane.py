"""What is read ahead for one partition: pages of the feed, in order, never more than ``max_in_flight`` events."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from eventsource_app.store.reading import FeedFilter
from eventsource_app.store.recorded_event import RecordedEvent


@dataclass(frozen=True, slots=True)
class Page:
    """Events with ``after < position <= through``; nothing else in that range is asked for.

    ``at_end`` says that the log was read to its bound when the page was read.
    """

    after: int
    events: list[RecordedEvent]
    through: int
    at_end: bool = False

    def followed_by(self, other: "Page") -> "Page":
        return Page(self.after, self.events + other.events, other.through, other.at_end)

    def above(self, position: int) -> "Page":
        """Return what of the page lies above a position that has been committed in the meantime."""
        if not self.events or self.events[0].position > position:
            return replace(self, after=position)
        return replace(self, after=position, events=[r for r in self.events if r.position > position])

    def batches(self, size: int) -> "list[Page]":
        """Return the page cut into pages of at most ``size`` events."""
        if len(self.events) <= size:
            return [self]
        parts = [self.events[start : start + size] for start in range(0, len(self.events), size)]
        ends = [part[-1].position for part in parts[:-1]] + [self.through]
        starts = [self.after, *ends[:-1]]
        pages = [Page(after, part, end) for after, part, end in zip(starts, parts, ends, strict=True)]
        return [*pages[:-1], replace(pages[-1], at_end=self.at_end)]


class Lane:
    """The read-ahead of one partition. The reader puts, the worker takes; a reset drops all that was read."""

    def __init__(self, feed_filter: FeedFilter, batch_size: int, max_in_flight: int, position: int) -> None:
        self.feed_filter = feed_filter
        self.batch_size = batch_size
        self._max_in_flight = max_in_flight
        self._pages: deque[Page] = deque()
        self._in_flight = 0
        self._next_after = position
        self._changed = threading.Condition()
        self._ask_reader: Callable[[], None] = lambda: None
        self.generation = 0

    def connect(self, ask_reader: Callable[[], None]) -> None:
        """Say how the reader is told that there is room."""
        self._ask_reader = ask_reader

    def wants(self, bound: int) -> tuple[int, int, int] | None:
        """Return (after, limit, generation) of the next read; ``None`` when half full or at the bound."""
        with self._changed:
            if self._next_after >= bound or not self._has_room():
                return None
            return self._next_after, self._max_in_flight - self._in_flight, self.generation

    def _has_room(self) -> bool:
        """Half of it must be free: one read of many events costs less than many of a few."""
        room = self._max_in_flight - self._in_flight
        return room >= self.batch_size and room * 2 >= self._max_in_flight

    def put(self, page: Page, generation: int) -> None:
        """Add what was read, cut into batches, unless a reset came in between."""
        with self._changed:
            if generation != self.generation:
                return
            self._next_after = page.through
            self._in_flight += len(page.events)
            if self._pages and not self._pages[-1].events:
                page = self._pages.pop().followed_by(page)
            self._pages.extend(page.batches(self.batch_size))
            self._changed.notify()

    def take(self, timeout: float) -> Page | None:
        """Return the next page; ``None`` when there is none within ``timeout`` seconds."""
        with self._changed:
            if not self._pages:
                self._changed.wait(timeout)
            return self._pages.popleft() if self._pages else None

    def upcoming(self) -> list[RecordedEvent]:
        """Return the events of the page that is next, without taking it; an empty list where none has been read."""
        with self._changed:
            return self._pages[0].events if self._pages else []

    def take_more(self, page: Page, limit: int) -> Page:
        """Join what else is there to a page, up to ``limit`` events; never waits."""
        with self._changed:
            while self._pages and len(page.events) + len(self._pages[0].events) <= limit:
                page = page.followed_by(self._pages.popleft())
        return page

    def done(self, event_count: int) -> None:
        """Events that are behind the checkpoint make room for others."""
        with self._changed:
            self._in_flight = max(0, self._in_flight - event_count)
            has_room = self._has_room()
        if has_room:
            self._ask_reader()

    def reset(self, position: int) -> None:
        """Drop everything read ahead and read again after ``position``."""
        with self._changed:
            self._pages.clear()
            self._in_flight = 0
            self._next_after = position
            self.generation += 1
        self._ask_reader()

    def wake(self) -> None:
        """End a wait early (a stop was asked for)."""
        with self._changed:
            self._changed.notify_all()

    @property
    def next_after(self) -> int:
        """Where the next read begins."""
        with self._changed:
            return self._next_after

    @property
    def in_flight(self) -> int:
        with self._changed:
            return self._in_flight
