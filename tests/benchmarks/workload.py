"""What a workload is: two sides that are measured in turn, and the goal that their ratio is held against."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.benchmarks.server import Bench


@dataclass(frozen=True, slots=True)
class Sides:
    """Each side measures itself once when called, and returns a number in the workload's unit; ``notes`` say more at the end."""

    ours: Callable[[], float]
    reference: Callable[[], float]
    notes: Callable[[], list[str]] = list


@dataclass(frozen=True, slots=True)
class Goal:
    """What the issue asks for, computed from the two medians."""

    text: str
    measure: Callable[[float, float], float]
    is_met: Callable[[float], bool]
    unit: str = ""


def at_least(ratio: float) -> Goal:
    """Ours is at least so many times the reference."""
    return Goal(f"≥ {ratio:g}", lambda ours, reference: ours / reference, lambda value: value >= ratio)


def at_most(ratio: float) -> Goal:
    """Ours is at most so many times the reference."""
    return Goal(f"≤ {ratio:g}", lambda ours, reference: ours / reference, lambda value: value <= ratio)


def of_ours_at_most(limit: float) -> Goal:
    """Ours alone is at most so much; the reference only tells what the machine is like."""
    return Goal(f"ours ≤ {limit:g}", lambda ours, _reference: ours, lambda value: value <= limit)


def at_most_microseconds_more(limit: float) -> Goal:
    """Of rates per second: one of ours takes at most so much longer than one of the reference."""
    return Goal(
        f"≤ {limit:g} µs more",
        lambda ours, reference: 1e6 / ours - 1e6 / reference,
        lambda value: value <= limit,
        " µs",
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """One line of the table."""

    name: str
    title: str
    reference: str
    unit: str
    goal: Goal
    open: Callable[[Bench], AbstractContextManager[Sides]]
    full_only: bool


_workloads: dict[str, Workload] = {}


def workload(
    name: str, *, title: str, reference: str, unit: str, goal: Goal, full_only: bool = False
) -> Callable[[Callable[[Bench], Iterator[Sides]]], Callable[[Bench], Iterator[Sides]]]:
    """Register a generator that sets the workload up, yields its ``Sides`` and cleans up.

    ``full_only`` leaves it out of ``--quick``.
    """

    def register(function: Callable[[Bench], Iterator[Sides]]) -> Callable[[Bench], Iterator[Sides]]:
        _workloads[name] = Workload(name, title, reference, unit, goal, contextmanager(function), full_only)
        return function

    return register


def workloads() -> dict[str, Workload]:
    """Return all registered workloads by name, in the order of their registration."""
    return dict(_workloads)
