"""The subscriptions page and what can be done from it; workers."""

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from eventsource_app.admin.audit import note, operator
from eventsource_app.admin.overview import overview
from eventsource_app.admin.readonly import ReadOnlyAdmin, committing_by_themselves
from eventsource_app.admin.verbs import VERBS, ReasonForm, Verb
from eventsource_app.models import Checkpoint, WorkerHeartbeat
from eventsource_app.subscriptions.control import ControlError

REFRESH_SECONDS: Final = 10
PAGE: Final = "admin:eventsource_app_checkpoint_changelist"


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    """The list is the subscriptions page; each verb has a page of its own, which asks before it acts."""

    def get_urls(self) -> list[URLPattern]:
        ours = path(
            "<slug:slug>/<desk_name:name>/do/",
            self.admin_site.admin_view(self.verb_view),
            name="eventsource_app_checkpoint_verb",
        )
        return committing_by_themselves([ours, *super().get_urls()])

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        refreshes = request.GET.get("refresh") != "off"
        context = {
            **self.admin_site.each_context(request),
            "title": "Subscriptions",
            "opts": self.opts,
            "overview": overview(),
            "verbs": [verb for verb in VERBS.values() if self.may(request, verb)],
            "refresh_seconds": REFRESH_SECONDS if refreshes else None,
            "sees_letters": request.user.has_perm("eventsource_app.view_deadletter"),
        }
        response = TemplateResponse(request, "admin/eventsource_app/subscriptions.html", context)
        if refreshes:
            # No form is on this page, so nothing half typed is lost; a link stops it.
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    def may(self, request: HttpRequest, verb: Verb) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(
            f"eventsource_app.{verb.permission}"
        )

    def verb_view(self, request: HttpRequest, slug: str, name: str) -> HttpResponse:
        """Ask on GET, act on POST, and say on the subscriptions page what came of it."""
        verb = VERBS.get(slug)
        if verb is None:
            raise Http404(f"There is no verb {slug!r}.")
        if not self.may(request, verb):
            raise PermissionDenied
        rows = list(Checkpoint.objects.filter(subscription=name).order_by("partition"))
        if not rows:
            raise Http404(f"No subscription {name!r} has a checkpoint.")
        form = self._form(request, verb, rows)
        if request.method == "POST" and form.is_valid() and self._run(request, verb, rows[0], form):
            return HttpResponseRedirect(reverse(PAGE))
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.title}: {name}",
            "opts": self.opts,
            "verb": verb,
            "rows": rows,
            "form": form,
        }
        return TemplateResponse(request, "admin/eventsource_app/verb.html", context)

    def _form(self, request: HttpRequest, verb: Verb, rows: list[Checkpoint]) -> ReasonForm:
        seen = ",".join(str(row.position) for row in rows)
        initial = {"to": len(rows) if verb.slug == "partitions" else None, "seen": seen}
        data = request.POST if request.method == "POST" else None
        return verb.form(data, subscription=rows[0].subscription, initial=initial)

    def _run(self, request: HttpRequest, verb: Verb, row: Checkpoint, form: ReasonForm) -> bool:
        try:
            said = verb.run(row.subscription, operator(request), form.cleaned_data)
        except ControlError as error:
            self.message_user(request, str(error), messages.ERROR)
            return False
        self.message_user(request, said, messages.SUCCESS)
        # A change of partitions writes the rows anew.
        subject = (
            Checkpoint.objects.filter(subscription=row.subscription).order_by("partition").first() or row
        )
        note(request, subject, f"{verb.title}: {said}", form.cleaned_data["reason"], name=row.subscription)
        return True


@admin.register(WorkerHeartbeat)
class WorkerHeartbeatAdmin(ReadOnlyAdmin):
    list_display = ("worker_id", "host", "pid", "phase", "subscriptions", "started_at", "beat_at")
    list_filter = ("phase",)
    ordering = ("-beat_at",)
