"""The read models in the admin: to look at, never to change; only their subscription writes them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from eventsource_app.admin.readonly import BigTableAdmin
from projections.models import CustomerSummary, OrderSummary


class ReadModelAdmin(BigTableAdmin):
    """Search finds by the customer's whole id, and orders by theirs: both from an index."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by equality."""
        if not search_term:
            return queryset, False
        by_customer = queryset.filter(customer_id=search_term.strip())
        if self.model is not OrderSummary:
            return by_customer, False
        by_order, _duplicates = super().get_search_results(request, queryset, search_term)
        return by_order | by_customer, False


@admin.register(OrderSummary)
class OrderSummaryAdmin(ReadModelAdmin):
    list_display = ("order_id", "customer_id", "total", "status", "version", "position", "created_at")
    list_filter = ("status",)
    search_fields = ("order_id",)
    search_help_text = "An order's id or a customer's id, in full."
    ordering = ("-created_position",)


@admin.register(CustomerSummary)
class CustomerSummaryAdmin(ReadModelAdmin):
    list_display = ("customer_id", "order_count", "total_spent")
    search_fields = ("customer_id",)
    search_help_text = "A customer's id, in full."
    ordering = ("customer_id",)
