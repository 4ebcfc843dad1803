"""The read models in the admin: to look at, never to change; only their subscription writes them."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventsource_app.admin.readonly import BigTableAdmin
from eventsource_app.admin.wording import moment
from orders.events import ORDER
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
    show_facets = admin.ShowFacets.NEVER
    list_display = (
        "order_id",
        "customer_id",
        "total",
        "status",
        "version",
        "position",
        "created_shown",
        "stream_shown",
    )
    fields = (
        "order_id", "stream_shown", "customer_shown", "total", "status", "tracking_number", "version", "position",
        "created_shown",
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("order_id",)
    search_help_text = "An order's id or a customer's id, in full."
    ordering = ("-created_position",)

    @admin.display(description="created at", ordering="created_at")
    def created_shown(self, order: OrderSummary) -> str:
        return moment(order.created_at)

    @admin.display(description="time line")
    def stream_shown(self, order: OrderSummary) -> SafeString:
        address = reverse("admin:eventsource_app_event_stream", args=[ORDER, order.order_id])
        return format_html('<a href="{}">events and states</a>', address)

    @admin.display(description="customer")
    def customer_shown(self, order: OrderSummary) -> SafeString:
        address = reverse("admin:projections_customersummary_change", args=[quote(order.customer_id)])
        return format_html('<a href="{}">{}</a>', address, order.customer_id)


@admin.register(CustomerSummary)
class CustomerSummaryAdmin(ReadModelAdmin):
    list_display = ("customer_id", "order_count", "total_spent", "orders_shown")
    fields = ("customer_id", "order_count", "total_spent", "orders_shown")
    search_fields = ("customer_id",)
    search_help_text = "A customer's id, in full."
    ordering = ("customer_id",)

    @admin.display(description="orders")
    def orders_shown(self, customer: CustomerSummary) -> SafeString:
        """The customer has no stream of its own: its orders have."""
        address = (
            f"{reverse('admin:projections_ordersummary_changelist')}?{urlencode({'q': customer.customer_id})}"
        )
        return format_html('<a href="{}">{} orders</a>', address, customer.order_count)
