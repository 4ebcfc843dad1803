"""A run of failures: of one event after another, held back until it is known whether the events or the world is at fault."""

from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions.dead_letters import Aggregate, Failure, ParkedSet


class FailureRun:
    """Failures that are decided and not committed, and whose later events were passed over because of that."""

    def __init__(self) -> None:
        self._failures: list[Failure] = []
        self._passed: set[Aggregate] = set()

    def __bool__(self) -> bool:
        return bool(self._failures)

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(self._failures)

    @property
    def aggregates(self) -> frozenset[Aggregate]:
        return frozenset(failure.aggregate for failure in self._failures)

    def add(self, failure: Failure) -> None:
        self._failures.append(failure)

    def blocked(self, parked: ParkedSet, scope: str) -> frozenset[Aggregate]:
        """Return the aggregates whose events wait, with those that are about to be parked."""
        return parked.aggregates if scope == "event" else parked.aggregates | self.aggregates

    def passes_over(self, recorded: RecordedEvent, blocked: frozenset[Aggregate]) -> bool:
        """Say whether an event waits for something that is held back with this run; it is then handled behind its letter."""
        aggregate = aggregate_of(recorded)
        if not self._failures or aggregate not in blocked:
            return False
        self._passed.add(aggregate)
        return True

    def has_lost_sight(self, blocked: frozenset[Aggregate]) -> bool:
        """Say whether something was passed over that nobody would replay: its letter was closed in the meantime."""
        return not self._passed <= blocked

    def clear(self) -> None:
        self._failures.clear()
        self._passed.clear()


def aggregate_of(recorded: RecordedEvent) -> Aggregate:
    return recorded.aggregate_type, str(recorded.aggregate_id)
