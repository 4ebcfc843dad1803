"""Checkpoints, dead letters and workers. What an operator may do about them is in ``operating``."""

from django.contrib import admin
from django.utils.safestring import SafeString

from eventsource_app.admin.operating import CheckpointActions, DeadLetterActions
from eventsource_app.admin.readonly import BigTableAdmin, ReadOnlyAdmin, preformatted
from eventsource_app.models import Checkpoint, DeadLetter, WorkerHeartbeat


@admin.register(Checkpoint)
class CheckpointAdmin(CheckpointActions, ReadOnlyAdmin):
    list_display = (
        "subscription", "partition", "partition_count", "position", "state", "breaker", "owner", "lease_expires_at",
        "events_processed", "events_failed", "updated_at",
    )  # fmt: skip
    list_filter = ("state", "breaker", "subscription")
    ordering = ("subscription", "partition")


@admin.register(DeadLetter)
class DeadLetterAdmin(DeadLetterActions, BigTableAdmin):
    list_display = (
        "subscription", "position", "event_type", "aggregate_id", "state", "error_type", "retry_count", "next_retry_at",
        "last_failed_at",
    )  # fmt: skip
    list_filter = ("state", "severity", "category")
    ordering = ("-pk",)
    search_fields = ("=event_id", "=aggregate_id")
    search_help_text = "An event's or an aggregate's id, in full."
    exclude = ("traceback",)
    readonly_fields = ("traceback_shown",)

    @admin.display(description="traceback")
    def traceback_shown(self, letter: DeadLetter) -> SafeString:
        return preformatted(letter.traceback or "-")


@admin.register(WorkerHeartbeat)
class WorkerHeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("worker_id", "host", "pid", "phase", "subscriptions", "started_at", "beat_at")
    list_filter = ("phase",)
    ordering = ("-beat_at",)
