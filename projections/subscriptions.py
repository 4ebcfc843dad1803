"""What follows the log, and how; workers find these by themselves. ``EVENTSOURCE["SUBSCRIPTIONS"]`` may override."""

from eventsource_app.subscriptions import SubscriptionConfig, subscription
from projections.customer_summary import CustomerSummaryProjection
from projections.order_summary import OrderSummaryProjection

# Both fold a batch into a handful of statements, so larger batches cost less per event.
IN_LARGE_BATCHES = SubscriptionConfig(batch_size=500)

# Whom to ask how far the read models of orders and customers have come.
ORDERS, CUSTOMERS = "orders", "customers"

subscription(ORDERS, config=IN_LARGE_BATCHES)(OrderSummaryProjection)
subscription(CUSTOMERS, config=IN_LARGE_BATCHES)(CustomerSummaryProjection)
