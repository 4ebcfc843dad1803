"""The desk: everything the engine keeps, to look at and not to touch."""

from eventsource_app.admin.log import EventAdmin, SnapshotAdmin
from eventsource_app.admin.subscriptions import CheckpointAdmin, DeadLetterAdmin, WorkerHeartbeatAdmin

__all__ = ["CheckpointAdmin", "DeadLetterAdmin", "EventAdmin", "SnapshotAdmin", "WorkerHeartbeatAdmin"]
