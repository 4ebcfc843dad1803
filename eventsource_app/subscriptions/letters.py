"""What an operator may do about dead letters: try them again, or discard them. Both then replay what waits behind them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import DatabaseError, InterfaceError, transaction

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.session import fetch_all, log_database
from eventsource_app.subscriptions import checkpoints, dead_letters
from eventsource_app.subscriptions.checkpoints import Counts
from eventsource_app.subscriptions.control import (
    BusyError,
    ControlError,
    Subscriptions,
    check_code,
    declared,
    desk_callbacks,
    record,
)
from eventsource_app.subscriptions.dead_letters import LETTER, OpenLetter
from eventsource_app.subscriptions.errors import describe
from eventsource_app.subscriptions.interruptions import Interruption
from eventsource_app.subscriptions.redelivery import DeskRedelivery, MissingEventError, Outcome

FIND: Final = f"SELECT subscription, slot, {LETTER} FROM eventsource_app_deadletter WHERE id = %s"  # noqa: S608 - constants
CLOSED_STATES: Final = ("resolved", "discarded")
TAKEN: Final = "Somebody else, or the worker, was at this letter at the same time; look at it again."


class UnknownLetterError(ControlError):
    """There is no such dead letter."""


class LetterTakenError(ControlError):
    """The letter is closed, or somebody else was faster."""


@dataclass(frozen=True, slots=True)
class LetterResult:
    """What became of one letter.

    ``outcome`` is ``"resolved"`` (its event and all that waited behind it were handled), ``"discarded"`` (the same, less
    its own event), ``"failed"`` (again, or at a later event, which has a letter of its own now: see ``failed_position``),
    ``"taken"`` (somebody else is at it, nothing was done) or, among several, ``"refused"`` (the world was at fault, and
    nothing is known of the event). ``handled_count`` events ran their handler.
    """

    letter_id: int
    subscription: str
    position: int
    outcome: str
    handled_count: int = 0
    failed_position: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RetryReport:
    """What became of several letters; ``left_count`` were not tried, for want of time or of a database that answers."""

    results: tuple[LetterResult, ...]
    left_count: int = 0

    def count(self, outcome: str) -> int:
        return sum(result.outcome == outcome for result in self.results)

    @property
    def is_clean(self) -> bool:
        return not self.left_count and not any(map(self.count, ("failed", "taken", "refused")))


@dataclass(frozen=True, slots=True)
class _Found:
    subscription: str
    slot: int
    letter: OpenLetter

    @property
    def is_closed(self) -> bool:
        return self.letter.state in CLOSED_STATES and self.letter.replayed_through is None


def retry_letter(
    letter_id: int, who: str, *, store: EventStore | None = None, subscriptions: Subscriptions | None = None
) -> LetterResult:
    """Try a letter now, in this process, through the subscription's own handlers, and then what waits behind it.

    Works beside running workers: each event is an attempt of its own under the checkpoint row's lock. Two operators, or
    an operator and a worker: one wins, the other gets ``"taken"``. Raises ``UnknownLetterError``, ``LetterTakenError``
    for a closed letter, ``ControlError`` when the world (the database, say) is at fault and nothing is known of the event.
    """
    store = store or EventStore()
    found = _find(store.using, letter_id)
    if found.is_closed:
        raise LetterTakenError(f"Dead letter {letter_id} is {found.letter.state} already.")
    result = _replay(_redelivery(found, store, subscriptions), found, who, "resolved", found.letter)
    record("retry", who, result)
    return result


def retry_aggregate(
    name: str,
    aggregate_id: UUID,
    who: str,
    *,
    store: EventStore | None = None,
    subscriptions: Subscriptions | None = None,
) -> RetryReport:
    """Try the open letters of one aggregate, in the log's order."""
    store = store or EventStore()
    letters = dead_letters.find_open(store.using, name, aggregate_id)
    if not letters:
        raise UnknownLetterError(f"{name} has no open dead letter of aggregate {aggregate_id}.")
    return retry_letters([letter.id for letter in letters], who, store=store, subscriptions=subscriptions)


def retry_all(
    name: str,
    who: str,
    *,
    store: EventStore | None = None,
    subscriptions: Subscriptions | None = None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> RetryReport:
    """Try every open letter of a subscription, in the log's order; calls ``on_progress(1)`` after each."""
    store = store or EventStore()
    check_code(store.using, declared(name, subscriptions))
    letters = [letter.id for letter in dead_letters.find_open(store.using, name)]
    return retry_letters(letters, who, store=store, subscriptions=subscriptions, on_progress=on_progress)


def retry_letters(
    letter_ids: Sequence[int],
    who: str,
    *,
    store: EventStore | None = None,
    subscriptions: Subscriptions | None = None,
    on_progress: Callable[[int], object] = lambda count: None,
    seconds: float | None = None,
) -> RetryReport:
    """Try these letters one after another; begins no other one after ``seconds``, or when the database has gone."""
    store = store or EventStore()
    deadline = None if seconds is None else time.monotonic() + seconds
    results: list[LetterResult] = []
    for letter_id in letter_ids:
        if deadline is not None and time.monotonic() > deadline:
            break
        try:
            results.append(_retry_among_others(letter_id, who, store, subscriptions))
        except (DatabaseError, InterfaceError):
            if not results:
                raise
            break  # what was done so far is worth telling
        on_progress(1)
    return RetryReport(tuple(results), len(letter_ids) - len(results))


def _retry_among_others(
    letter_id: int, who: str, store: EventStore, subscriptions: Subscriptions | None
) -> LetterResult:
    found = _find(store.using, letter_id)
    try:
        return retry_letter(letter_id, who, store=store, subscriptions=subscriptions)
    except LetterTakenError as error:  # closed since it was listed, or chosen though it is closed
        return _result(found, "taken", error=str(error))
    except ControlError as error:
        return _result(found, "refused", error=str(error))


def discard(
    letter_id: int,
    who: str,
    reason: str,
    *,
    store: EventStore | None = None,
    subscriptions: Subscriptions | None = None,
) -> LetterResult:
    """Skip just this event, for ever, and replay what waits behind it.

    The discard is committed first, on its own: what then fails gets a letter of its own, and if this process dies the
    partition's worker replays the rest. Raises as ``retry_letter``, and ``ControlError`` without a reason.
    """
    if not reason.strip():
        raise ControlError("A reason is needed to discard an event; it is kept with the letter.")
    store = store or EventStore()
    found = _find(store.using, letter_id)
    redelivery = _redelivery(found, store, subscriptions)
    _discard(store.using, found, who, reason.strip())
    has_followers = found.letter.scope == "aggregate"
    result = _replay(redelivery, found, who, "discarded") if has_followers else _result(found, "discarded")
    record("discard", who, result)
    return result


def open_letters(
    name: str, aggregate_id: UUID | None = None, *, using: str | None = None
) -> list[OpenLetter]:
    """Return the letters of a subscription, or of one aggregate in it, that something waits for, in the log's order."""
    using = using or log_database()
    return dead_letters.find_open(using, name, aggregate_id)


def _find(using: str, letter_id: int) -> _Found:
    rows = fetch_all(using, FIND, (letter_id,))
    if not rows:
        raise UnknownLetterError(f"There is no dead letter {letter_id}.")
    subscription, slot, *letter = rows[0]
    return _Found(subscription, slot, OpenLetter(*letter))


def _redelivery(found: _Found, store: EventStore, subscriptions: Subscriptions | None) -> DeskRedelivery:
    subscription = declared(found.subscription, subscriptions)
    check_code(store.using, subscription)
    return DeskRedelivery(subscription, store, found.slot, desk_callbacks())


def _discard(using: str, found: _Found, who: str, reason: str) -> None:
    letter = found.letter
    with transaction.atomic(using=using, durable=True):
        if checkpoints.lock_slot(using, found.subscription, found.slot) is None:
            raise BusyError(found.subscription)
        if letter.state in CLOSED_STATES:
            raise LetterTakenError(f"Dead letter {letter.id} is {letter.state} already.")
        if dead_letters.lock_letter(using, letter.id) != letter:
            raise LetterTakenError(TAKEN)
        dead_letters.mark_discarded(using, letter.id, who, reason)
        checkpoints.count(using, found.subscription, found.slot, Counts(parked=1))


def _replay(
    redelivery: DeskRedelivery, found: _Found, who: str, done: str, seen: OpenLetter | None = None
) -> LetterResult:
    """Attempt by attempt until nothing is left, or something fails. Only the first can be somebody else's."""
    handled_count = 0
    while True:
        try:
            attempt = redelivery.retry(found.letter.id, who, seen)
        except MissingEventError as error:
            raise ControlError(str(error)) from error
        except (Interruption, DatabaseError) as error:
            raise ControlError(
                f"Dead letter {found.letter.id} could not be tried: {describe(error)}"
            ) from error
        handled_count += attempt.outcome in (Outcome.HANDLED, Outcome.CLOSED) and attempt.position is not None
        if attempt.outcome is Outcome.FAILED:
            return _result(found, "failed", handled_count, attempt.position, attempt.error)
        if attempt.outcome is Outcome.TAKEN and seen is not None:
            return _result(found, "taken", error=TAKEN)
        if attempt.outcome is not Outcome.HANDLED:
            return _result(found, done, handled_count)
        seen = None


def _result(
    found: _Found,
    outcome: str,
    handled_count: int = 0,
    failed_position: int | None = None,
    error: str | None = None,
) -> LetterResult:
    letter = found.letter
    return LetterResult(
        letter.id, found.subscription, letter.position, outcome, handled_count, failed_position, error
    )


def sentence(result: LetterResult) -> str:
    """Say what became of a letter, for people."""
    place = f"Dead letter {result.letter_id} of {result.subscription} (position {result.position})"
    if result.outcome == "refused":
        return str(result.error)
    behind = f"{result.handled_count} events handled"
    if result.outcome == "taken":
        return f"{place} was left alone: {result.error}"
    if result.outcome != "failed":
        return f"{place} is {result.outcome}, {behind}."
    if result.failed_position == result.position:
        return f"{place} failed again: {result.error}"
    return f"{place} is closed, {behind}, but the event at {result.failed_position} behind it failed: {result.error}"
