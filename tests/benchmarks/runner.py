"""Measuring: repetitions of the two sides in turn, so that a slow minute of the machine meets both."""

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.benchmarks.server import Bench
from tests.benchmarks.workload import Workload


@dataclass(frozen=True, slots=True)
class Samples:
    """What one side measured, in order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(min(self.values))} … {_short(max(self.values))})"


@dataclass(frozen=True, slots=True)
class Result:
    """A workload's outcome."""

    workload: Workload
    ours: Samples
    reference: Samples
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        return self.workload.goal.measure(self.ours.median, self.reference.median)

    @property
    def is_met(self) -> bool:
        return self.workload.goal.is_met(self.value)

    def as_json(self) -> dict[str, Any]:
        """Return the result with every sample."""
        goal = self.workload.goal
        return {
            "name": self.workload.name,
            "title": self.workload.title,
            "reference": self.workload.reference,
            "unit": self.workload.unit,
            "ours": _summary(self.ours),
            "bare": _summary(self.reference),
            "ratio": self.ours.median / self.reference.median,
            "notes": list(self.notes),
            "goal": {"text": goal.text, "value": self.value, "is_met": self.is_met},
        }


def measure(workload: Workload, bench: Bench) -> Result:
    """Run A B A B …; the first pair only warms caches and is not counted."""
    ours: list[float] = []
    reference: list[float] = []
    with workload.open(bench) as sides:
        for _ in range(bench.repetitions + 1):
            ours.append(sides.ours())
            reference.append(sides.reference())
        notes = tuple(sides.notes())
    return Result(workload, Samples(tuple(ours[1:])), Samples(tuple(reference[1:])), notes)


def _summary(samples: Samples) -> dict[str, Any]:
    return {
        **asdict(samples),
        "median": samples.median,
        "min": min(samples.values),
        "max": max(samples.values),
    }


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
