"""The start page leads with what needs somebody; the audit trail keeps what was done; read models lead to their streams."""

from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from eventsource_app.models import Checkpoint
from orders.commands import PlaceOrder
from orders.services import place_order
from projections.models import OrderSummary
from tests.integration.desk import staff, text
from tests.integration.poisoned_orders import PoisonedOrders, run_to_the_end

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_names_what_is_wrong(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    PoisonedOrders(monkeypatch)
    Checkpoint.objects.update(state="stopped")
    page = text(staff(client, "view_checkpoint", "view_deadletter").get("/admin/"))
    assert page.index("How all is") < page.index("Event sourcing")
    assert "1 open dead letter" in page
    assert "No worker is alive" in page
    assert "orders</a>" in page
    assert "stopped" in page


def test_it_is_calm_when_all_is_well(client: Client) -> None:
    page = text(staff(client, "view_deadletter").get("/admin/"))
    assert "Nothing needs you" in page
    assert "Subscriptions" not in page.partition("How all is")[2].partition("</section>")[0]


def test_the_start_page_costs_a_few_statements(client: Client, django_assert_max_num_queries: object) -> None:
    desk = staff(client, "view_checkpoint", "view_deadletter", "view_event")
    for name in "abcdef":
        Checkpoint.objects.create(subscription=name)
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        desk.get("/admin/")


def test_the_audit_trail_says_who_did_what_when_and_why(client: Client) -> None:
    place_order(PlaceOrder("cust-1", Decimal(5)))
    run_to_the_end("orders")
    desk = staff(client, "view_checkpoint", "pause_checkpoint", "view_logentry")
    desk.post(
        reverse("admin:eventsource_app_checkpoint_verb", args=["pause", "orders"]),
        {"reason": "<b>a move</b>"},
    )
    page = text(desk.get(reverse("admin:admin_logentry_changelist")))
    assert "Audit trail" in page
    assert "Pause: orders was running and is paused now. Reason: &lt;b&gt;a move&lt;/b&gt;" in page
    assert "ada" in page
    entry = LogEntry.objects.get()
    assert (
        desk.post(reverse("admin:admin_logentry_delete", args=[entry.pk]), {"post": "yes"}).status_code == 403
    )
    assert desk.get(reverse("admin:admin_logentry_changelist"), {"content_type": "x"}).status_code == 200


def test_read_models_lead_to_their_streams_and_each_other(client: Client) -> None:
    order_id = place_order(PlaceOrder("cust/1", Decimal(5))).order_id
    run_to_the_end("orders")
    run_to_the_end("customers")
    client.force_login(User.objects.create_superuser("root"))
    stream = reverse("admin:eventsource_app_event_stream", args=["Order", order_id])
    assert stream in text(client.get(reverse("admin:projections_ordersummary_changelist")))
    order = text(client.get(reverse("admin:projections_ordersummary_change", args=[order_id])))
    assert stream in order
    customer = reverse("admin:projections_customersummary_change", args=["cust_2F1"])
    assert customer in order
    customers = text(client.get(customer))
    assert f"{reverse('admin:projections_ordersummary_changelist')}?q=cust%2F1" in customers
    found = client.get(reverse("admin:projections_ordersummary_changelist"), {"q": "cust/1"})
    assert [row.order_id for row in found.context["cl"].result_list] == [OrderSummary.objects.get().order_id]
