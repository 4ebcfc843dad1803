"""What the ModelAdmins share: no way to write, JSON that reads well, and searches that use an index."""

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connections, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, register_converter
from django.urls.converters import StringConverter
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventsource_app.store.session import log_database

COUNTED_ROWS: Final = 10_000

if TYPE_CHECKING:  # generic in the stubs only
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin = admin.ModelAdmin
    AnyPaginator = Paginator


class NameConverter(StringConverter):
    """A name in an address as it is: it may have slashes, and line breaks, which Django's ``path`` does not take."""

    regex = "[^\\0]+"


register_converter(NameConverter, "desk_name")


def committing_by_themselves(patterns: list[URLPattern]) -> list[URLPattern]:
    """Keep these views out of a request's transaction (ATOMIC_REQUESTS): an operator's verb commits as it goes along."""
    outside = transaction.non_atomic_requests(using=log_database())
    for pattern in patterns:
        pattern.callback = outside(pattern.callback)
    return patterns


class ReadOnlyAdmin(AnyModelAdmin):
    """Shows rows to those with the view permission; nobody adds, changes or deletes here."""

    actions = None
    list_per_page = 50

    class Media:
        css = {"all": ["eventsource_app/desk.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class BigTablePaginator(AnyPaginator):
    """Counts at most 10,000 rows, and takes the planner's estimate when nothing is filtered and it is greater.

    An exact count reads the whole table. The estimate alone is 0 or -1 before the first ANALYZE, and would hide rows.
    """

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)  # noqa: S101 - the change list gives nothing else
        counted = rows.order_by()[: COUNTED_ROWS + 1].count()
        if counted <= COUNTED_ROWS or rows.query.where:
            return min(counted, COUNTED_ROWS)
        return max(counted, estimated_rows(rows))


class BigTableAdmin(ReadOnlyAdmin):
    """A table that only grows: no count of all rows, and a search by the UUIDs named in ``search_fields``."""

    paginator = BigTablePaginator
    show_full_result_count = False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by equality. Django's own ``=`` compares in upper case, which no index serves."""
        if not search_term:
            return queryset, False
        wanted = _uuid(search_term)
        if wanted is None:
            return queryset.none(), False
        conditions = Q()
        for name in self.get_search_fields(request):
            conditions |= Q(**{name.removeprefix("="): wanted})
        return queryset.filter(conditions), False


def estimated_rows(rows: QuerySet[Any]) -> int:
    """Return the planner's idea of how many rows the table has; -1 when it never looked."""
    with connections[rows.db].cursor() as cursor:
        cursor.execute(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(%s)", [rows.model._meta.db_table]
        )
        found = cursor.fetchone()
    return int(found[0]) if found else -1


def pretty_json(value: Any) -> SafeString:
    """Return escaped, indented JSON; text that is not JSON is shown as it is."""
    return preformatted(json.dumps(_parsed(value), indent=2, ensure_ascii=False, default=str))


def preformatted(text: str) -> SafeString:
    return format_html('<pre class="desk-pre">{}</pre>', text)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None
