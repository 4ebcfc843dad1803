"""Dead letters: the list with its filters, the page of one, and what can be done to one, to some, or to all that match."""

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from eventsource_app.admin import operating
from eventsource_app.admin.letter_filters import (
    ErrorFilter,
    StateFilter,
    SubscriptionFilter,
    TypeFilter,
    groups,
    short,
)
from eventsource_app.admin.letter_page import letter_page
from eventsource_app.admin.operating import OPEN, VERBS, LetterVerb
from eventsource_app.admin.readonly import BigTableAdmin, committing_by_themselves
from eventsource_app.admin.wording import ago, badge
from eventsource_app.models import DeadLetter

LEVELS: Final = {"failed": messages.ERROR, "refused": messages.ERROR, "taken": messages.WARNING}
LISTED: Final = 20


class LetterReasonForm(forms.Form):
    """Why: kept in the audit trail, and by a discard in the letter."""

    reason = forms.CharField(
        max_length=1000, required=False, widget=forms.TextInput(attrs={"class": "vTextField"})
    )

    def __init__(self, *args: Any, is_required: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = is_required


@admin.register(DeadLetter)
class DeadLetterAdmin(BigTableAdmin):
    list_display = (
        "event_shown",
        "subscription_shown",
        "state_shown",
        "error_shown",
        "retry_count",
        "failed_shown",
    )
    list_filter = (StateFilter, SubscriptionFilter, TypeFilter, ErrorFilter)
    ordering = ("-pk",)
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER
    search_fields = ("=event_id", "=aggregate_id")
    search_help_text = "An event's or an aggregate's id, in full."
    actions: Any = ("retry", "retry_aggregate", "discard")
    change_list_template = "admin/eventsource_app/letters.html"

    @admin.display(description="event")
    def event_shown(self, letter: DeadLetter) -> str:
        return f"{letter.event_type} at {letter.position}"

    @admin.display(description="error")
    def error_shown(self, letter: DeadLetter) -> str:
        return f"{short(letter.error_type)}: {letter.error_message}"[:120]

    @admin.display(description="subscription")
    def subscription_shown(self, letter: DeadLetter) -> str:
        return letter.subscription

    @admin.display(description="state")
    def state_shown(self, letter: DeadLetter) -> SafeString:
        return badge(letter.state)

    @admin.display(description="last failed")
    def failed_shown(self, letter: DeadLetter) -> str:
        return ago(letter.last_failed_at)

    # Who may

    def may(self, request: HttpRequest, verb: LetterVerb) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(
            f"eventsource_app.{verb.permission}"
        )

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, VERBS["retry"])

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return self.may(request, VERBS["discard"])

    # Pages

    def get_urls(self) -> list[URLPattern]:
        guard, prefix = self.admin_site.admin_view, "eventsource_app_deadletter"
        matching = path("matching/<slug:slug>/", guard(self.matching_view), name=f"{prefix}_matching")
        one = path("<int:letter_id>/<slug:slug>/do/", guard(self.verb_view), name=f"{prefix}_verb")
        return committing_by_themselves([matching, one, *super().get_urls()])

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        query = request.GET.copy()
        query.pop("p", None)
        extra = {
            "title": "Dead letters",
            "groups": groups() if self.has_view_permission(request) else [],
            "verbs": [
                verb for verb in VERBS.values() if self.may(request, verb) and not verb.takes_aggregate
            ],
            "query": query.urlencode(),
        }
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request) or request.method == "POST":
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Dead letter",
            "opts": self.opts,
            "page": letter_page(self._letter(object_id)),
            "verbs": [verb for verb in VERBS.values() if self.may(request, verb)],
            "sees_events": request.user.has_perm("eventsource_app.view_event"),
        }
        return TemplateResponse(request, "admin/eventsource_app/letter.html", context)

    def verb_view(self, request: HttpRequest, letter_id: int, slug: str) -> HttpResponse:
        """Do it to one letter: ask on GET, act on POST, and show the letter as it is then."""
        verb = self._verb(request, slug)
        letter = self._letter(letter_id)
        back = reverse("admin:eventsource_app_deadletter_change", args=[letter.pk])
        answer, reason = self._asked(request, verb, DeadLetter.objects.filter(pk=letter.pk), back)
        if answer is not None:
            return answer
        report = operating.run(
            request, verb, operating.chosen(verb, DeadLetter.objects.filter(pk=letter.pk)), reason
        )
        if not report.told:
            self.message_user(request, "There is no open dead letter of that aggregate.", messages.WARNING)
        for each in report.told:
            self.message_user(request, each.sentence, LEVELS.get(each.outcome, messages.SUCCESS))
        if report.left_count:
            self.message_user(
                request, f"{report.left_count} were not tried in time; retry again.", messages.WARNING
            )
        return HttpResponseRedirect(back)

    def matching_view(self, request: HttpRequest, slug: str) -> HttpResponse:
        """Do it to all open letters that match the list's filters."""
        verb = self._verb(request, slug)
        back = f"{reverse('admin:eventsource_app_deadletter_changelist')}?{request.GET.urlencode()}"
        try:
            matching = self.get_changelist_instance(request).get_queryset(request).filter(OPEN)
        except IncorrectLookupParameters:
            self.message_user(
                request,
                "The list has no such filter; nothing was done, so choose the letters again.",
                messages.ERROR,
            )
            return HttpResponseRedirect(back)
        answer, reason = self._asked(request, verb, matching, back)
        return answer or self._results(request, verb, matching, reason, back)

    # Actions on the chosen ones

    @admin.action(description="Retry the selected dead letters now", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._results(request, VERBS["retry"], queryset, "", request.get_full_path())

    @admin.action(description="Retry all dead letters of the selected aggregates", permissions=["retry"])
    def retry_aggregate(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        return self._results(request, VERBS["retry-aggregate"], queryset, "", request.get_full_path())

    @admin.action(description="Discard the selected dead letters…", permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        verb = VERBS["discard"]
        form = LetterReasonForm(request.POST if "confirmed" in request.POST else None, is_required=True)
        if form.is_valid():
            return self._results(
                request, verb, queryset, form.cleaned_data["reason"], request.get_full_path()
            )
        across = request.POST.get("select_across", "0")
        hidden = {"action": "discard", "index": "0", "select_across": across, "confirmed": "yes"}
        return self._ask(request, verb, queryset, form, request.get_full_path(), hidden)

    # How

    def _verb(self, request: HttpRequest, slug: str) -> LetterVerb:
        verb = VERBS.get(slug)
        if verb is None:
            raise Http404(f"There is no verb {slug!r}.")
        if not self.may(request, verb):
            raise PermissionDenied
        return verb

    def _letter(self, letter_id: int | str) -> DeadLetter:
        found = DeadLetter.objects.filter(pk=letter_id).first() if str(letter_id).isdecimal() else None
        if found is None:
            raise Http404(f"There is no dead letter {letter_id}.")
        return found

    def _asked(
        self, request: HttpRequest, verb: LetterVerb, queryset: QuerySet[DeadLetter], back: str
    ) -> tuple[HttpResponse | None, str]:
        """Return the page that asks, or nothing and the reason when it was answered."""
        form = LetterReasonForm(
            request.POST if request.method == "POST" else None, is_required=verb.needs_reason
        )
        if form.is_valid():
            return None, form.cleaned_data["reason"]
        return self._ask(request, verb, queryset, form, back, {}), ""

    def _ask(
        self,
        request: HttpRequest,
        verb: LetterVerb,
        queryset: QuerySet[DeadLetter],
        form: LetterReasonForm,
        back: str,
        hidden: dict[str, str],
    ) -> HttpResponse:
        count = queryset.order_by()[: operating.MOST_LETTERS].count()
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.title} dead letters" if count != 1 else f"{verb.title} a dead letter",
            "opts": self.opts,
            "verb": verb,
            "form": form,
            "letters": list(queryset.order_by("position", "pk")[:LISTED]),
            "count": count,
            "is_cut": count == operating.MOST_LETTERS,
            "more_count": max(0, count - LISTED),
            "hidden": hidden,
            "chosen": request.POST.getlist("_selected_action") if hidden else [],
            "back": back,
        }
        return TemplateResponse(request, "admin/eventsource_app/letter_verb.html", context)

    def _results(
        self, request: HttpRequest, verb: LetterVerb, queryset: QuerySet[DeadLetter], reason: str, back: str
    ) -> HttpResponse:
        """Act, and show what became of each: the list is what the rows say afterwards."""
        report = operating.run(request, verb, operating.chosen(verb, queryset), reason)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.title}: results",
            "opts": self.opts,
            "verb": verb,
            "report": report,
            "seconds": operating.RUN_SECONDS,
            "back": back,
        }
        return TemplateResponse(request, "admin/eventsource_app/letter_results.html", context)
