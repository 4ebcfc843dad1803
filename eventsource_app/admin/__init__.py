"""The operator's desk: what happened, what is stuck, and what can be done about it."""

from django.contrib import admin

from eventsource_app.admin.audit import AuditAdmin
from eventsource_app.admin.events import EventAdmin, SnapshotAdmin
from eventsource_app.admin.letters import DeadLetterAdmin
from eventsource_app.admin.subscriptions import CheckpointAdmin, WorkerHeartbeatAdmin
from eventsource_app.admin.tokens import ApiTokenAdmin

__all__ = [
    "ApiTokenAdmin",
    "AuditAdmin",
    "CheckpointAdmin",
    "DeadLetterAdmin",
    "EventAdmin",
    "SnapshotAdmin",
    "WorkerHeartbeatAdmin",
]

# The start page leads with health; a project that has a start page of its own keeps it.
admin.site.index_template = admin.site.index_template or "admin/eventsource_app/home.html"
