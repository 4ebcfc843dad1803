"""The operator's desk: what happened, what is stuck, and what can be done about it."""

from eventsource_app.admin.events import EventAdmin, SnapshotAdmin
from eventsource_app.admin.letters import DeadLetterAdmin
from eventsource_app.admin.subscriptions import CheckpointAdmin, WorkerHeartbeatAdmin
from eventsource_app.admin.tokens import ApiTokenAdmin

__all__ = [
    "ApiTokenAdmin",
    "CheckpointAdmin",
    "DeadLetterAdmin",
    "EventAdmin",
    "SnapshotAdmin",
    "WorkerHeartbeatAdmin",
]
