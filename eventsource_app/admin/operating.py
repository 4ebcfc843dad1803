"""What operators do to dead letters: each verb as data, and the one runner that tells the truth of every letter after it."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from eventsource_app.admin.audit import note_all, operator
from eventsource_app.models import DeadLetter
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions import letters
from eventsource_app.subscriptions.control import ControlError
from eventsource_app.subscriptions.letters import LetterResult

# A request must end before its server's time does; what is left is said, and tried by asking again.
RUN_SECONDS: Final = 15.0
MOST_LETTERS: Final = 10_000
OPEN_STATES: Final = (DeadLetter.State.PARKED, DeadLetter.State.RETRYING, DeadLetter.State.DEAD)
# As the partial index has it: not closed, or with events behind that are still to be replayed.
OPEN: Final = Q(state__in=OPEN_STATES) | Q(replayed_through__isnull=False)

One = Callable[[int, str, str], LetterResult]


@dataclass(frozen=True, slots=True)
class LetterVerb:
    """One verb: ``do(letter_id, who, why)`` tries it, ``chosen`` says which letters it takes beside those asked for."""

    slug: str
    title: str
    permission: str
    consequence: str
    do: One
    done: str
    needs_reason: bool = False
    takes_aggregate: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one letter: the attempt's own outcome and sentence, and the row as it stands after it."""

    letter_id: int
    outcome: str
    sentence: str
    letter: DeadLetter | None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of all; ``left_count`` were not tried for want of time."""

    told: tuple[Told, ...]
    left_count: int

    def count(self, outcome: str) -> int:
        return sum(each.outcome == outcome for each in self.told)

    @property
    def counts(self) -> list[tuple[str, int]]:
        return [
            (name, n)
            for name in ("resolved", "discarded", "failed", "taken", "refused")
            if (n := self.count(name))
        ]


def chosen(verb: LetterVerb, queryset: QuerySet[DeadLetter]) -> list[int]:
    """Return the ids that the verb takes, in the log's order."""
    if not verb.takes_aggregate:
        return list(queryset.order_by("position", "pk").values_list("pk", flat=True)[:MOST_LETTERS])
    using = log_database()
    aggregates = set(queryset.values_list("subscription", "aggregate_id")[:MOST_LETTERS])
    found = [
        letter
        for name, aggregate in aggregates
        for letter in letters.open_letters(name, aggregate, using=using)
    ]
    return [letter.id for letter in sorted(found, key=lambda letter: letter.position)]


def run(request: HttpRequest, verb: LetterVerb, ids: Sequence[int], why: str) -> Report:
    """Do it to one letter after another, note each in the audit trail, and read all of them again."""
    deadline = time.monotonic() + RUN_SECONDS
    tried: list[tuple[int, str, str]] = []
    for letter_id in ids:
        if tried and time.monotonic() > deadline:
            break
        tried.append((letter_id, *_try(verb, letter_id, operator(request), why)))
    rows = DeadLetter.objects.in_bulk([letter_id for letter_id, _, _ in tried])
    told = tuple(Told(each, outcome, said, rows.get(each)) for each, outcome, said in tried)
    note_all(request, _worth_noting(verb, told), why)
    return Report(told, len(ids) - len(tried))


def _worth_noting(verb: LetterVerb, told: Iterable[Told]) -> list[tuple[DeadLetter, str]]:
    """What was not done is no action."""
    happened = [each for each in told if each.letter and each.outcome not in ("taken", "refused")]
    return [(each.letter, f"{verb.done}: {each.sentence}") for each in happened if each.letter]


def _try(verb: LetterVerb, letter_id: int, who: str, why: str) -> tuple[str, str]:
    try:
        result = verb.do(letter_id, who, why)
    except letters.LetterTakenError as error:
        return "taken", str(error)
    except ControlError as error:
        return "refused", str(error)
    return result.outcome, letters.sentence(result)


def _retry(letter_id: int, who: str, why: str) -> LetterResult:
    return letters.retry_letter(letter_id, who)


def _discard(letter_id: int, who: str, why: str) -> LetterResult:
    return letters.discard(letter_id, who, why)


VERBS: Final = {
    verb.slug: verb
    for verb in (
        LetterVerb(
            "retry",
            "Retry",
            "retry_deadletter",
            "The event is handled now, in this process, by the subscription’s own handlers; then what waits behind it, in order.",
            _retry,
            "Retried",
        ),
        LetterVerb(
            "retry-aggregate",
            "Retry the aggregate",
            "retry_deadletter",
            "Every open letter of the same aggregate is handled now, in the log’s order, each with what waits behind it.",
            _retry,
            "Retried",
            takes_aggregate=True,
        ),
        LetterVerb(
            "discard",
            "Discard",
            "discard_deadletter",
            "The event is skipped for ever by this subscription; the later events of its aggregate that wait behind it are handled. "
            "The event stays in the log, and a rebuild will meet it again.",
            _discard,
            "Discarded",
            needs_reason=True,
        ),
    )
}
