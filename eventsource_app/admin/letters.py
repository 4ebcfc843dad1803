"""Dead letters."""

from django.contrib import admin
from django.utils.safestring import SafeString

from eventsource_app.admin.operating import DeadLetterActions
from eventsource_app.admin.readonly import BigTableAdmin, preformatted
from eventsource_app.models import DeadLetter


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
