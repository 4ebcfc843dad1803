"""One line of the production readiness checklist: a question, and what a program sees of its answer."""

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final, Generic, TypeVar

INFRASTRUCTURE: Final = "Infrastructure"
APPLICATION: Final = "Application"
OPERATIONS: Final = "Operations"

Seen = TypeVar("Seen")


class Verdict(enum.StrEnum):
    """``ask`` is for people: a program cannot see the answer."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Answer:
    """``sentence`` holds the values that were seen and, unless all is well, what to do."""

    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Item:
    """An answered question."""

    id: str
    area: str
    question: str
    verdict: Verdict
    sentence: str

    def to_dict(self) -> dict[str, str]:
        return {**asdict(self), "verdict": self.verdict.value}


@dataclass(frozen=True, slots=True)
class Rule(Generic[Seen]):
    """A question with the function that answers it from what was seen."""

    id: str
    area: str
    question: str
    answer: Callable[[Seen], Answer]

    def item(self, seen: Seen) -> Item:
        return self.with_answer(self.answer(seen))

    def with_answer(self, answer: Answer) -> Item:
        return Item(self.id, self.area, self.question, answer.verdict, answer.sentence)


def ok(sentence: str) -> Answer:
    return Answer(Verdict.OK, sentence)


def warn(sentence: str) -> Answer:
    return Answer(Verdict.WARN, sentence)


def fail(sentence: str) -> Answer:
    return Answer(Verdict.FAIL, sentence)


def ask(sentence: str) -> Answer:
    return Answer(Verdict.ASK, sentence)
