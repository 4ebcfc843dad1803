"""The handler that hangs: says so in the log, and then waits for ever."""

import logging
import time

from eventsource_app.subscriptions import Projection, SubscriptionConfig, handles, subscription
from orders.events import OrderCreated


@subscription("hanging", config=SubscriptionConfig(processing_timeout=3600))
class HangingProjection(Projection):
    @handles(OrderCreated)
    def hang(self, event: OrderCreated) -> None:
        logging.getLogger("hanging").warning("Handler hangs")
        time.sleep(3600)
