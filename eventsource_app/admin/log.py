"""Events and snapshots."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from eventsource_app.admin.readonly import BigTableAdmin, pretty_json
from eventsource_app.events import default_registry
from eventsource_app.models import Event, Snapshot


class RegisteredTypeFilter(admin.SimpleListFilter):
    """Event types from the registry: asking the table for its distinct types would read all of it."""

    title = "event type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in default_registry]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset.filter(event_type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(BigTableAdmin):
    list_display = (
        "position",
        "event_type",
        "aggregate_type",
        "aggregate_id",
        "aggregate_version",
        "recorded_at",
    )
    list_filter = (RegisteredTypeFilter,)
    ordering = ("-position",)
    search_fields = ("=event_id", "=aggregate_id")
    search_help_text = "An event's or an aggregate's id, in full."
    fields = (
        "position", "event_id", "event_type", "schema_version", "aggregate_type", "aggregate_id", "aggregate_version",
        "slot", "occurred_at", "recorded_at", "correlation_id", "causation_id", "actor_id", "metadata_shown",
        "data_shown",
    )  # fmt: skip

    @admin.display(description="metadata")
    def metadata_shown(self, event: Event) -> SafeString:
        return pretty_json(event.metadata)

    @admin.display(description="data")
    def data_shown(self, event: Event) -> SafeString:
        return pretty_json(event.data)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-position",)

    def get_sortable_by(self, request: HttpRequest) -> tuple[str, ...]:
        # The only order that has an index of its own.
        return ("position",)


@admin.register(Snapshot)
class SnapshotAdmin(BigTableAdmin):
    list_display = ("aggregate_type", "aggregate_id", "version", "schema_version", "created_at")
    ordering = ("-pk",)
    sortable_by = ()
    search_fields = ("=aggregate_id",)
    search_help_text = "An aggregate's id, in full."
    fields = (
        "aggregate_type",
        "aggregate_id",
        "version",
        "schema_version",
        "fingerprint",
        "created_at",
        "state_shown",
    )

    @admin.display(description="state")
    def state_shown(self, snapshot: Snapshot) -> SafeString:
        return pretty_json(snapshot.state)
