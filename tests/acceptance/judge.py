"""The judge: what the read models must be, computed from the log alone, with nothing of the engine or of the service."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg

STATUSES = {
    "OrderCreated": "created",
    "OrderShipped": "shipped",
    "OrderDelivered": "delivered",
    "OrderCancelled": "cancelled",
}
EVENTS = """
SELECT position, event_type, aggregate_id::text, aggregate_version, data->>'customer_id', data->>'total', data->>'tracking_number'
  FROM eventsource_app_event WHERE aggregate_type = 'Order' ORDER BY position
"""
ORDERS = """
SELECT order_id::text, customer_id, total, status, tracking_number, version, position FROM projections_ordersummary
"""
CUSTOMERS = "SELECT customer_id, order_count, total_spent FROM projections_customersummary"

# order id -> customer, total, status, tracking number, version, position
Orders = dict[str, tuple[Any, ...]]
# customer id -> how many orders, how much
Customers = dict[str, tuple[int, Decimal]]


def folded(connection: psycopg.Connection[Any]) -> tuple[Orders, Customers]:
    """Return what the log says; fails when the versions of a stream are not 1, 2, 3 …"""
    rows: dict[str, list[Any]] = {}
    for position, event_type, order_id, version, customer_id, total, tracking in connection.execute(EVENTS):
        row = rows.setdefault(order_id, [None, None, None, None, 0, 0])
        assert version == row[4] + 1, f"{order_id} jumps from version {row[4]} to {version}"
        if event_type == "OrderCreated":
            row[0], row[1] = customer_id, Decimal(total)
        if event_type == "OrderShipped":
            row[3] = tracking
        row[2], row[4], row[5] = STATUSES[event_type], version, position
    return {order_id: tuple(row) for order_id, row in rows.items()}, _sums(rows)


def _sums(rows: dict[str, list[Any]]) -> Customers:
    sums: Customers = {}
    for customer_id, total, status, *_ in rows.values():
        count, spent = sums.get(customer_id, (0, Decimal(0)))
        counts = status != "cancelled"
        sums[customer_id] = (count + counts, spent + total * counts)
    return sums


def shown(connection: psycopg.Connection[Any]) -> tuple[Orders, Customers]:
    """Return what the read models say."""
    orders = {row[0]: tuple(row[1:]) for row in connection.execute(ORDERS)}
    customers = {row[0]: (row[1], row[2]) for row in connection.execute(CUSTOMERS)}
    return orders, customers


def assert_read_models_tell_the_log(connection: psycopg.Connection[Any]) -> None:
    """Compare both read models with the fold; says what differs, not thousands of rows."""
    (orders, customers), (shown_orders, shown_customers) = folded(connection), shown(connection)
    differences = _differences("orders", orders, shown_orders) + _differences(
        "customers", customers, shown_customers
    )
    assert not differences, "; ".join(differences)


def _differences(name: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    missing, surplus = set(expected) - set(actual), set(actual) - set(expected)
    wrong = [
        f"{key}: {expected[key]} is shown as {actual[key]}"
        for key in expected.keys() & actual.keys()
        if expected[key] != actual[key]
    ]
    if not (missing or surplus or wrong):
        return []
    summary = (
        f"{name}: {len(missing)} missing, {len(surplus)} too many, {len(wrong)} wrong of {len(expected)}"
    )
    return [summary, *wrong[:3]]


def positions(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return how far each subscription has come."""
    rows = connection.execute(
        "SELECT subscription, min(position) FROM eventsource_app_checkpoint GROUP BY subscription"
    )
    return {str(name): int(position) for name, position in rows}


def processed(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return how many events each subscription says it has handled."""
    rows = connection.execute(
        "SELECT subscription, sum(events_processed) FROM eventsource_app_checkpoint GROUP BY subscription"
    )
    return {str(name): int(count) for name, count in rows}


def last_position(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT coalesce(max(position), 0) FROM eventsource_app_event").fetchone()
    assert row is not None
    return int(row[0])


def is_caught_up(connection: psycopg.Connection[Any]) -> bool:
    last = last_position(connection)
    reached = positions(connection)
    return {"orders", "customers"} <= set(reached) and all(position >= last for position in reached.values())
