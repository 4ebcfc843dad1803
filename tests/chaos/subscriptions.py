"""What the campaign's workers find: its subscriptions, declared as those of any app, and its events, known to all."""

from eventsource_app.events import default_registry
from eventsource_app.subscriptions import subscription
from tests.chaos.projections import PROJECTIONS, ChaosAdded, ChaosTaken, config_of

for event_class in (ChaosAdded, ChaosTaken):
    default_registry.register(event_class)
for projection in PROJECTIONS:
    subscription(projection.name, config_of(projection.name))(projection)
