"""Lists cost the same however many orders there are: each page is read from an index, in its order, and stops in time."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from projections.cursors import encode_cursor
from projections.models import CustomerSummary, OrderSummary

pytestmark = pytest.mark.django_db
COUNT, MIDDLE = 5_000, 2_500
# Few orders are cancelled and each customer has few: where many rows match, the list's own order is as good an index.
CUSTOMERS, RARE = 100, 100


@pytest.fixture
def many_orders(db: None) -> None:
    OrderSummary.objects.bulk_create(
        OrderSummary(
            order_id=UUID(int=number),
            customer_id=f"cust-{number % CUSTOMERS}",
            total=1,
            status="cancelled" if number % RARE == 7 else "delivered",
            version=1,
            position=number,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            created_position=number,
        )
        for number in range(1, COUNT + 1)
    )
    CustomerSummary.objects.bulk_create(CustomerSummary(customer_id=f"cust-{n}") for n in range(1_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE projections_ordersummary, projections_customersummary")


def plans(sent: list[dict[str, Any]], table: str) -> str:
    """How the server would answer what was asked of the table."""
    [statement] = [query["sql"] for query in sent if table in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "created_position"),
        ("status=cancelled", "ordersummary_status_newest"),
        ("customer_id=cust-7", "ordersummary_customer_newest"),
    ],
)
@pytest.mark.parametrize("cursor", ["", f"&cursor={encode_cursor(MIDDLE)}"])
def test_a_page_is_read_from_its_index_without_sorting(
    api: Client, many_orders: None, query: str, index: str, cursor: str
) -> None:
    with CaptureQueriesContext(connection) as sent:
        page = api.get(f"/orders?limit=4&{query}{cursor}").json()
    assert len(page["items"]) == 4
    plan = plans(sent.captured_queries, "projections_ordersummary")
    assert index in plan, plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan
    assert re.search(r"^Limit", plan)


def test_a_status_of_a_customer_is_looked_for_among_few(api: Client, many_orders: None) -> None:
    with CaptureQueriesContext(connection) as sent:
        page = api.get("/orders?limit=20&customer_id=cust-7&status=delivered").json()
    assert {order["customer_id"] for order in page["items"]} <= {"cust-7"}
    plan = plans(sent.captured_queries, "projections_ordersummary")
    assert "Seq Scan" not in plan, plan


def test_a_page_is_one_statement_whatever_its_size(api: Client, many_orders: None) -> None:
    for limit in (1, 200):
        with CaptureQueriesContext(connection) as sent:
            assert len(api.get(f"/orders?limit={limit}").json()["items"]) == limit
        assert len([query for query in sent.captured_queries if "ordersummary" in query["sql"]]) == 1


def test_a_customer_is_found_by_its_key(api: Client, many_orders: None) -> None:
    with CaptureQueriesContext(connection) as sent:
        assert api.get("/customers/cust-7").status_code == 200
    plan = plans(sent.captured_queries, "projections_customersummary")
    assert "Index Cond: ((customer_id)" in plan, plan
