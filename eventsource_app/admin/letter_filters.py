"""The filters of the dead letters: their choices come from small tables and the newest letters, never from all of them."""

from collections.abc import Iterator
from typing import Any, Final

from django.contrib import admin
from django.db.models import Count, Min, QuerySet
from django.http import HttpRequest

from eventsource_app.admin.operating import OPEN
from eventsource_app.events import default_registry
from eventsource_app.models import Checkpoint, DeadLetter

# Choices are what the newest letters have: reading all of them for a list of choices would cost more than the page.
LOOKED_AT: Final = 1_000
MOST_GROUPS: Final = 8
Choices = list[tuple[str, str]]


class StateFilter(admin.SimpleListFilter):
    """Open ones unless something else is asked for: the closed are history."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(state.value, state.label.lower()) for state in DeadLetter.State] + [("all", "all")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": "open"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        if self.value() == "all":
            return queryset
        return queryset.filter(state=self.value()) if self.value() else queryset.filter(OPEN)


class ValueFilter(admin.SimpleListFilter):
    """Equal to one value of the column that the parameter is named after."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset

    def has_output(self) -> bool:
        return True


class SubscriptionFilter(ValueFilter):
    title = "subscription"
    parameter_name = "subscription"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        names = Checkpoint.objects.order_by("subscription").values_list("subscription", flat=True).distinct()
        return [(name, name) for name in names]


class TypeFilter(ValueFilter):
    title = "event type"
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in sorted({*default_registry, *newest("event_type")})]


class ErrorFilter(ValueFilter):
    title = "error"
    parameter_name = "error_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, short(name)) for name in sorted(newest("error_type"))]


def newest(column: str) -> set[str]:
    """Return the values of a column in the newest letters."""
    return set(DeadLetter.objects.order_by("-pk").values_list(column, flat=True)[:LOOKED_AT])


def groups() -> list[dict[str, Any]]:
    """Return the open letters by what failed how, the largest groups first."""
    found = (
        DeadLetter.objects.filter(OPEN)
        .values("subscription", "event_type", "error_type")
        .annotate(amount=Count("pk"), since=Min("first_failed_at"))
        .order_by("-amount")[:MOST_GROUPS]
    )
    return [{**each, "error": short(each["error_type"])} for each in found]


def short(error_type: str) -> str:
    """Return a class's name without its module, as people say it."""
    return error_type.rpartition(".")[2]
