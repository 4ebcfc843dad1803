"""The desk: everything the engine keeps, to look at and not to touch."""

from eventsource_app.admin.log import EventAdmin, SnapshotAdmin
from eventsource_app.admin.subscriptions import CheckpointAdmin, DeadLetterAdmin, WorkerHeartbeatAdmin
from eventsource_app.admin.tokens import ApiTokenAdmin

__all__ = [
    "ApiTokenAdmin",
    "CheckpointAdmin",
    "DeadLetterAdmin",
    "EventAdmin",
    "SnapshotAdmin",
    "WorkerHeartbeatAdmin",
]
