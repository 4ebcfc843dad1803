"""What operators do at the desk: actions, each behind its own permission, that call the verbs of control."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse

from eventsource_app.admin.audit import operator
from eventsource_app.admin.readonly import AnyModelAdmin
from eventsource_app.models import DeadLetter
from eventsource_app.subscriptions import letters
from eventsource_app.subscriptions.control import ControlError
from eventsource_app.subscriptions.letters import LetterResult

# A request must end before its server's time does; what is left is said, and tried by choosing it again.
RETRY_SECONDS: Final = 15.0
LEVELS: Final = {"failed": messages.ERROR, "taken": messages.WARNING}


class DeadLetterActions(AnyModelAdmin):
    """Retry and discard, for those who may."""

    actions: Any = ("retry", "retry_aggregate", "discard")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventsource_app.retry_deadletter")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("eventsource_app.discard_deadletter")

    @admin.action(description="Retry the selected dead letters now", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        self._retry(request, queryset.order_by("position"))

    @admin.action(description="Retry all dead letters of the selected aggregates", permissions=["retry"])
    def retry_aggregate(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        chosen = queryset.values_list("subscription", "aggregate_id").distinct()
        ids = [letter.id for name, aggregate in chosen for letter in letters.open_letters(name, aggregate)]
        self._retry(request, self.model._default_manager.filter(pk__in=ids).order_by("position"))

    @admin.action(description="Discard the selected dead letters…", permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> TemplateResponse | None:
        reason = request.POST.get("reason", "").strip()
        if "confirmed" not in request.POST or not reason:
            return self._ask_for_reason(request, queryset, missing="confirmed" in request.POST)
        rows = list(queryset.order_by("position"))
        self._each(request, rows, lambda row: letters.discard(row.pk, operator(request), reason), reason)
        return None

    def _retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        rows = {row.pk: row for row in queryset}
        if not rows:
            self.message_user(request, "There is no open dead letter among them.", messages.WARNING)
            return
        try:
            report = letters.retry_letters(list(rows), operator(request), seconds=RETRY_SECONDS)
        except ControlError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        for result in report.results:
            self._tell(request, rows[result.letter_id], result)
        if report.left_count:
            left = (
                f"{report.left_count} were not tried within {RETRY_SECONDS:.0f} seconds; choose them again."
            )
            self.message_user(request, left, messages.WARNING)

    def _each(
        self,
        request: HttpRequest,
        rows: Iterable[DeadLetter],
        verb: Callable[[DeadLetter], LetterResult],
        reason: str,
    ) -> None:
        for row in rows:
            try:
                self._tell(request, row, verb(row), reason)
            except ControlError as error:
                self.message_user(request, str(error), messages.ERROR)

    def _tell(self, request: HttpRequest, row: DeadLetter, result: LetterResult, reason: str = "") -> None:
        said = letters.sentence(result)
        self.message_user(request, said, LEVELS.get(result.outcome, messages.SUCCESS))
        if result.outcome != "taken":
            self.log_change(request, row, f"Discarded ({reason}): {said}" if reason else f"Retried: {said}")

    def _ask_for_reason(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], *, missing: bool
    ) -> TemplateResponse:
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": "Discard dead letters",
            "opts": self.model._meta,
            "letters": list(queryset.order_by("position")),
            "missing": missing,
            "action_name": "discard",
        }
        return TemplateResponse(request, "admin/eventsource_app/deadletter/discard.html", context)
