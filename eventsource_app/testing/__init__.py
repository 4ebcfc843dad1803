"""What users test their own aggregates and store adapters with."""

from eventsource_app.testing.scenario import AggregateScenario, Happened, happened
from eventsource_app.testing.store_behaviour import AnyEventStore, EventStoreBehaviour

__all__ = ["AggregateScenario", "AnyEventStore", "EventStoreBehaviour", "Happened", "happened"]
