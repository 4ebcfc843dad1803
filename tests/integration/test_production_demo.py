"""``manage.py production_demo``: the tutorial's complete example, on a real manager."""

from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command

from eventsource_app.store import EventStore
from projections.models import CustomerSummary, OrderSummary


@pytest.mark.django_db(transaction=True)
def test_the_demo_places_one_order_and_both_read_models_follow(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    call_command("production_demo", "--seconds", "3")
    [created] = EventStore().read_all()
    order = OrderSummary.objects.get(order_id=created.aggregate_id)
    assert (order.customer_id, order.total, order.status) == ("cust-prod-001", Decimal("499.99"), "created")
    assert CustomerSummary.objects.get(customer_id="cust-prod-001").order_count == 1
    lines = [record.message for record in caplog.records if record.name == "eventsource.demo"]
    assert lines == [
        "Starting application",
        "Application started",
        "Order created",
        "Health check",
        "Application running",
        "Stopping application",
        "Manager stopped",
        "Application stopped",
    ]


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "x"])
def test_impossible_seconds_are_a_usage_error(seconds: str) -> None:
    with pytest.raises(CommandError, match="seconds"):
        call_command("production_demo", f"--seconds={seconds}")
