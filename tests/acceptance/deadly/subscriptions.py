"""The handlers: some are killed by the order of `cust-1`, as by the kernel when memory runs out; the last waits for ever."""

import os
import signal
import time

from eventsource_app.models import DeadLetter
from eventsource_app.subscriptions import Projection, SubscriptionConfig, handles, subscription
from orders.events import OrderCreated, OrderShipped

QUICK = SubscriptionConfig(initial_retry_delay=0.1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail_at_first(event: OrderCreated) -> None:
    if not DeadLetter.objects.filter(event_id=event.event_id).exists():
        raise ValueError("not yet")


@subscription("killed", config=QUICK)
class KilledProjection(Projection):
    @handles(OrderCreated)
    def die(self, event: OrderCreated) -> None:
        if event.customer_id == "cust-1":
            die()


@subscription("killed-again", config=QUICK)
class KilledAgainProjection(Projection):
    @handles(OrderCreated)
    def fail_and_then_die(self, event: OrderCreated) -> None:
        if event.customer_id == "cust-1":
            fail_at_first(event)
            die()


@subscription("killed-behind", config=QUICK)
class KilledBehindProjection(Projection):
    @handles(OrderCreated)
    def fail_at_first(self, event: OrderCreated) -> None:
        if event.customer_id == "cust-1":
            fail_at_first(event)

    @handles(OrderShipped)
    def die(self, event: OrderShipped) -> None:
        if event.tracking_number == "T-1":
            die()


@subscription("stuck", config=SubscriptionConfig(processing_timeout=1))
class StuckProjection(Projection):
    @handles(OrderCreated)
    def wait(self, event: OrderCreated) -> None:
        if event.customer_id == "cust-1":
            time.sleep(3600)
