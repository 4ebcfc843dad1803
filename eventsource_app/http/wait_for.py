"""Read your own writes: ``?wait_for=POSITION`` on a question, ``Prefer: wait`` on a command.

A question waits until the read model has come to the position that the command answered, and no longer than the limit. Who
waits holds a thread and no database connection; a process lets only so many wait, so that the others are served.
"""

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse
from pydantic import Field

from eventsource_app.exceptions import EventSourceError
from eventsource_app.http import idempotency
from eventsource_app.http.config import api_config
from eventsource_app.http.etag import etag
from eventsource_app.http.reached import Goal, Watcher, look
from eventsource_app.store.fence import head_position
from eventsource_app.store.session import log_database

MAX_POSITION: Final = 2**63 - 1
Position = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_POSITION,
        description="A command's `position`: the answer waits until the read model has come so far.",
    ),
]
_WAIT: Final = re.compile(r"wait(?:[ \t]*=[ \t]*\"?(\d{1,9})\"?)?", re.IGNORECASE)
View = Callable[..., HttpResponse]


@dataclass(frozen=True, slots=True)
class Representation:
    """An aggregate as its read model has it."""

    version: int
    json: bytes


watcher: Final = Watcher()


class AheadOfLogError(EventSourceError):
    """The position is none that a command has answered."""

    field = "wait_for"
    location = "query"

    def __init__(self, position: int, head: int) -> None:
        super().__init__(
            f"Position {position} is above the log's head, {head}: use the position that a command answered."
        )


class NotReachedError(EventSourceError):
    """The read model has not come so far in time."""

    retry_after_seconds = 1

    def __init__(self, subscription: str, position: int, reached: int | None, seconds: float) -> None:
        place = f"at position {reached}" if reached is not None else "not followed yet"
        super().__init__(
            f"Within {seconds:g} s the read model {subscription!r} did not reach position {position}; it is {place}. "
            "The command stands: ask again, or without wait_for."
        )


class ParkedError(EventSourceError):
    """The read model could not handle an event of this aggregate, and waits for an operator or a retry."""

    retry_after_seconds = 30

    def __init__(self, subscription: str) -> None:
        super().__init__(
            f"The read model {subscription!r} could not handle an event of this aggregate yet, so its answer would be old. "
            "The command stands: ask without wait_for for what there is."
        )


class TooManyWaitingError(EventSourceError):
    """As many requests wait in this process as may."""

    retry_after_seconds = 1

    def __init__(self, count: int) -> None:
        super().__init__(
            f"As many requests as may ({count}) wait for read models here already; try again in a second."
        )


class Room:
    """A place for so many, and no queue before it."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def enter(self, limit: int) -> None:
        with self._lock:
            if self._count >= limit:
                raise TooManyWaitingError(self._count)
            self._count += 1

    def leave(self) -> None:
        with self._lock:
            self._count -= 1


room: Final = Room()


def wait_until_reached(subscription: str, position: int | None, aggregate_id: UUID | None = None) -> None:
    """Return once the read model has what the position's event did; at once where no position is given.

    With an aggregate only its partition counts, and it must not be parked; without one all partitions count, and the
    aggregate of the position's event must not be parked. Raises ``AheadOfLogError``, ``ParkedError``, ``NotReachedError``,
    ``TooManyWaitingError``.
    """
    if position is None:
        return
    goal, seconds = Goal(subscription, position, aggregate_id), api_config().wait_seconds
    seen = look(goal)
    if position > seen.head:
        raise AheadOfLogError(position, seen.head)
    if not seen.is_parked and not seen.meets(goal):
        _wait(goal, seconds)
        seen = look(goal)
    if seen.is_parked:
        raise ParkedError(subscription)
    if not seen.meets(goal):
        raise NotReachedError(subscription, position, seen.reached, seconds)


def check_position(position: int | None) -> None:
    """The same for what is read from the log itself: raises ``AheadOfLogError``, and never waits."""
    if position is not None and position > (head := head_position(log_database())):
        raise AheadOfLogError(position, head)


def preferring(
    goal_of: Callable[[dict[str, Any]], Goal], read: Callable[[UUID], Representation | None]
) -> Callable[[View], View]:
    """Return a decorator for commands: with ``Prefer: wait`` they answer what the read model says, once it has them.

    ``goal_of`` tells from a command's receipt what to wait for, ``read`` finds the aggregate then. What the caller prefers
    is no condition: when it cannot be had the receipt is answered, without Preference-Applied. With an Idempotency-Key the
    answer must be the same every time, so the receipt stays.
    """

    def decorate(run: View) -> View:
        @wraps(run)
        def answer(request: HttpRequest, **arguments: Any) -> HttpResponse:
            response = run(request, **arguments)
            seconds = preferred_seconds(request)
            if seconds is None or request.method != "POST" or not 200 <= response.status_code < 300:
                return response
            goal = goal_of(json.loads(response.content))
            if _reaches(goal, seconds):
                response["Preference-Applied"] = "wait"
                if idempotency.HEADER not in request.headers and goal.aggregate_id is not None:
                    _represent(response, read(goal.aggregate_id))
            return response

        return answer

    return decorate


def preferred_seconds(request: HttpRequest) -> float | None:
    """Return how long the caller would wait (RFC 7240), within our own limit; None for one who would not."""
    limit = api_config().wait_seconds
    for preference in request.headers.get("Prefer", "").split(","):
        found = _WAIT.fullmatch(preference.strip())
        if found is not None:
            return limit if found[1] is None else min(limit, float(found[1]))
    return None


def _reaches(goal: Goal, seconds: float) -> bool:
    if connections[log_database()].in_atomic_block:
        return False  # as with ATOMIC_REQUESTS: nobody can follow what is not committed yet, and waiting would hold all up
    try:
        seen = look(goal)
        if not seen.is_parked and not seen.meets(goal):
            _wait(goal, seconds)
            seen = look(goal)
    except (TooManyWaitingError, OperationalError, InterfaceError):
        return False  # the command is carried out, and that is what must be said
    return seen.meets(goal) and not seen.is_parked


def _represent(response: HttpResponse, representation: Representation | None) -> None:
    if representation is not None:
        response.content = representation.json
        response["ETag"] = etag(representation.version)


def _wait(goal: Goal, seconds: float) -> None:
    connection = connections[log_database()]
    room.enter(api_config().waiter_count)
    try:
        if not connection.in_atomic_block:
            connection.close()  # back to the pool: who waits needs none
        watcher.wait(goal, seconds)
    finally:
        room.leave()
