"""The handlers: one is killed by the order of `cust-1`, as by the kernel when memory runs out; the other waits for ever."""

import os
import signal
import time

from eventsource_app.subscriptions import Projection, SubscriptionConfig, handles, subscription
from orders.events import OrderCreated


@subscription("killed", config=SubscriptionConfig(initial_retry_delay=0.1))
class KilledProjection(Projection):
    @handles(OrderCreated)
    def die(self, event: OrderCreated) -> None:
        if event.customer_id == "cust-1":
            os.kill(os.getpid(), signal.SIGKILL)


@subscription("stuck", config=SubscriptionConfig(processing_timeout=1))
class StuckProjection(Projection):
    @handles(OrderCreated)
    def wait(self, event: OrderCreated) -> None:
        if event.customer_id == "cust-1":
            time.sleep(3600)
