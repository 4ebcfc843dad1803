"""What users test their own aggregates and store adapters with."""

from eventsource_app.testing.projecting import (
    CaughtUp,
    PartitionTakenError,
    ProjectionTestMixin,
    append_events,
    run_to_caught_up,
)
from eventsource_app.testing.scenario import AggregateScenario, Happened, happened
from eventsource_app.testing.store_behaviour import AnyEventStore, EventStoreBehaviour

__all__ = [
    "AggregateScenario",
    "AnyEventStore",
    "CaughtUp",
    "EventStoreBehaviour",
    "Happened",
    "PartitionTakenError",
    "ProjectionTestMixin",
    "append_events",
    "happened",
    "run_to_caught_up",
]
