"""The names of span attributes; other services and dashboards rely on them."""

from typing import Final

EVENT_ID: Final = "event.id"
EVENT_TYPE: Final = "event.type"
EVENT_COUNT: Final = "event.count"
AGGREGATE_ID: Final = "aggregate.id"
AGGREGATE_TYPE: Final = "aggregate.type"
SUBSCRIPTION_NAME: Final = "subscription.name"
SUBSCRIPTION_STATE: Final = "subscription.state"
DB_SYSTEM: Final = "db.system"
DB_OPERATION: Final = "db.operation"

POSTGRESQL: Final = "postgresql"
# The key in an event's metadata under which the context of the span that wrote it is kept (W3C Trace Context).
TRACEPARENT: Final = "traceparent"
