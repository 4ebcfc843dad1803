"""The log: browsing and searching it, one stream's time line, and what one request caused."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventsource_app.admin.correlation_page import correlation_page
from eventsource_app.admin.event_search import EventPage, SearchTooSlowError, browse, browse_type, search
from eventsource_app.admin.readonly import BigTableAdmin, ReadOnlyAdmin, pretty_json
from eventsource_app.admin.stream_page import stream_page
from eventsource_app.admin.wording import moment
from eventsource_app.events import default_registry
from eventsource_app.models import Event, Snapshot
from eventsource_app.store.streams import StreamId

LIST = "admin:eventsource_app_event_changelist"


def stream_link(aggregate_type: str, aggregate_id: UUID) -> SafeString:
    """Return a link to the page of a stream."""
    address = reverse("admin:eventsource_app_event_stream", args=[aggregate_type, aggregate_id])
    return format_html('<a href="{}">{}</a>', address, aggregate_id)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The list is a page of its own, by positions: the admin's would count, and number its pages."""

    fields = (
        "position", "event_type", "schema_version", "event_id", "aggregate_type", "stream_shown", "aggregate_version",
        "slot", "occurred_shown", "recorded_shown", "correlation_shown", "causation_shown", "actor_id", "data_shown",
        "metadata_shown",
    )  # fmt: skip

    @admin.display(description="metadata")
    def metadata_shown(self, event: Event) -> SafeString:
        return pretty_json(event.metadata)

    @admin.display(description="data")
    def data_shown(self, event: Event) -> SafeString:
        return pretty_json(event.data)

    @admin.display(description="aggregate")
    def stream_shown(self, event: Event) -> SafeString:
        return stream_link(event.aggregate_type, event.aggregate_id)

    @admin.display(description="occurred at")
    def occurred_shown(self, event: Event) -> str:
        return moment(event.occurred_at)

    @admin.display(description="recorded at")
    def recorded_shown(self, event: Event) -> str:
        return moment(event.recorded_at)

    @admin.display(description="correlation", empty_value="–")
    def correlation_shown(self, event: Event) -> SafeString | None:
        if not event.correlation_id:
            return None
        address = (
            f"{reverse('admin:eventsource_app_event_correlation')}?{urlencode({'id': event.correlation_id})}"
        )
        return format_html('<a href="{}">{}</a>', address, event.correlation_id)

    @admin.display(description="caused by", empty_value="–")
    def causation_shown(self, event: Event) -> SafeString | None:
        if not event.causation_id:
            return None
        address = f"{reverse(LIST)}?{urlencode({'q': str(event.causation_id)})}"
        return format_html('<a href="{}">{}</a>', address, event.causation_id)

    def get_urls(self) -> list[URLPattern]:
        guard = self.admin_site.admin_view
        return [
            path(
                "stream/<desk_name:aggregate_type>/<uuid:aggregate_id>/",
                guard(self.stream_view),
                name="eventsource_app_event_stream",
            ),
            path("correlation/", guard(self.correlation_view), name="eventsource_app_event_correlation"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        self._check(request)
        text = request.GET.get("q", "").strip()
        if text.isdecimal():
            return self._go_to(request, int(text))
        event_type = request.GET.get("event_type", "")
        context = {
            "title": "Events",
            "q": text,
            "event_type": event_type,
            "event_types": list(default_registry),
        }
        if text:
            try:
                found = search(text)
            except SearchTooSlowError as error:
                self.message_user(request, str(error), messages.ERROR)
                return HttpResponseRedirect(reverse(LIST))
            return self._page(request, "event_search.html", {**context, "found": found})
        return self._page(request, "events.html", {**context, "page": _browsed(request, event_type)})

    def stream_view(self, request: HttpRequest, aggregate_type: str, aggregate_id: UUID) -> HttpResponse:
        self._check(request)
        page = stream_page(StreamId(aggregate_type, aggregate_id), _number(request, "version"))
        if page is None:
            raise Http404(f"There is no stream {aggregate_type} {aggregate_id}.")
        sees_letters = request.user.has_perm("eventsource_app.view_deadletter")
        context = {"title": f"{aggregate_type} {aggregate_id}", "page": page, "sees_letters": sees_letters}
        return self._page(request, "stream.html", context)

    def correlation_view(self, request: HttpRequest) -> HttpResponse:
        self._check(request)
        correlation_id = request.GET.get("id", "")
        try:
            page = correlation_page(correlation_id)
        except SearchTooSlowError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse(LIST))
        if page is None:
            raise Http404(f"No event has the correlation id {correlation_id!r}.")
        sees_letters = request.user.has_perm("eventsource_app.view_deadletter")
        context = {"title": "What one request caused", "page": page, "sees_letters": sees_letters}
        return self._page(request, "correlation.html", context)

    def _check(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        whole = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/eventsource_app/{template}", whole)

    def _go_to(self, request: HttpRequest, position: int) -> HttpResponse:
        if position < 2**63 and Event.objects.filter(position=position).exists():
            return HttpResponseRedirect(reverse("admin:eventsource_app_event_change", args=[position]))
        self.message_user(
            request, f"There is no event at position {position}: positions have gaps.", messages.WARNING
        )
        return HttpResponseRedirect(reverse(LIST))


@admin.register(Snapshot)
class SnapshotAdmin(BigTableAdmin):
    list_display = ("aggregate_type", "aggregate_id", "version", "schema_version", "created_at")
    ordering = ("-pk",)
    sortable_by = ()
    search_fields = ("=aggregate_id",)
    search_help_text = "An aggregate's id, in full."
    fields = (
        "aggregate_type",
        "stream_shown",
        "version",
        "schema_version",
        "fingerprint",
        "created_at",
        "state_shown",
    )

    @admin.display(description="aggregate")
    def stream_shown(self, snapshot: Snapshot) -> SafeString:
        return stream_link(snapshot.aggregate_type, snapshot.aggregate_id)

    @admin.display(description="state")
    def state_shown(self, snapshot: Snapshot) -> SafeString:
        return pretty_json(snapshot.state)


def _browsed(request: HttpRequest, event_type: str) -> EventPage:
    before = _number(request, "before")
    if event_type:
        return browse_type(event_type, before)
    return browse(before, _number(request, "after") if before is None else None)


def _number(request: HttpRequest, name: str) -> int | None:
    """Return a position or version of the address; anything else counts as left out."""
    text = request.GET.get(name, "")
    return min(int(text), 2**63 - 1) if text.isdecimal() and text.isascii() else None
