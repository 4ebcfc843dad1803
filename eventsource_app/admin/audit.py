"""The audit trail: who did what at the desk, when, to what and why. One entry of Django's log per action and row."""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from eventsource_app.admin.readonly import BigTableAdmin


def operator(request: HttpRequest) -> str:
    """Return the name under which the engine keeps who asked."""
    return request.user.get_username()[:200]


def note(request: HttpRequest, subject: Model, what: str, why: str = "", *, name: str = "") -> None:
    """Keep what came of an operator's action on a row; ``why`` is the operator's own reason."""
    note_all(request, [(subject, what)], why, name=name)


def note_all(
    request: HttpRequest, done: Iterable[tuple[Model, str]], why: str = "", *, name: str = ""
) -> None:
    """Keep what came of one action on several rows, in one statement."""
    LogEntry.objects.bulk_create(
        LogEntry(
            user=cast("User", request.user),
            content_type=ContentType.objects.get_for_model(subject),
            object_id=str(subject.pk),
            object_repr=(name or str(subject))[:200],
            action_flag=CHANGE,
            change_message=f"{what} Reason: {why}" if why else what,
        )
        for subject, what in done
    )


def entries_about(subject: Model, limit: int = 50) -> list[LogEntry]:
    """Return what operators did with a row, newest first."""
    found = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(subject), object_id=str(subject.pk)
    )
    return list(found.select_related("user").order_by("-action_time", "-pk")[:limit])


class SubjectFilter(admin.SimpleListFilter):
    """What was acted on: the engine's own kinds, without asking the log for those it has."""

    title = "subject"
    parameter_name = "content_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = ContentType.objects.filter(app_label="eventsource_app").order_by("model")
        return [(str(kind.pk), kind.name) for kind in kinds]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        value = self.value() or ""
        return queryset.filter(content_type_id=int(value)) if value.isdecimal() else queryset


class AuditAdmin(BigTableAdmin):
    """The whole trail, newest first."""

    list_display = ("action_time", "user", "content_type", "object_repr", "what_and_why")
    list_display_links = None
    list_filter = (SubjectFilter,)
    list_select_related = ("user", "content_type")
    show_facets = admin.ShowFacets.NEVER
    ordering = ("-pk",)
    sortable_by = ()

    @admin.display(description="what came of it, and why")
    def what_and_why(self, entry: LogEntry) -> str:
        return str(entry) if entry.is_deletion() else entry.get_change_message() or str(entry)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Audit trail", **(extra_context or {})})


if not admin.site.is_registered(LogEntry):  # a project may have one of its own
    admin.site.register(LogEntry, AuditAdmin)
