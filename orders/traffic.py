"""Plausible traffic: orders as a shop would see them, for demos and load."""

import random
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

from orders.commands import CancelOrder, DeliverOrder, PlaceOrder, ShipOrder
from orders.services import OrderReceipt, cancel_order, deliver_order, place_order, ship_order

CUSTOMER_COUNT = 200
REASONS = ("changed my mind", "found it cheaper", "ordered twice", "takes too long")
# Of a hundred orders: 10 cancelled, 20 still open, 20 on their way, 50 delivered.
CANCELLED, OPEN, ON_THE_WAY = 0.10, 0.30, 0.50


def live_through_one_order(chance: random.Random) -> OrderReceipt:
    """Place one order and take it as far as chance has it; return its last receipt."""
    customer_id = f"cust-{chance.randrange(CUSTOMER_COUNT):04}"
    receipt = place_order(PlaceOrder(customer_id, Decimal(chance.randrange(199, 50_000)) / 100))
    fate = chance.random()
    if fate < CANCELLED:
        return cancel_order(CancelOrder(receipt.order_id, chance.choice(REASONS)))
    if fate < OPEN:
        return receipt
    shipped = ship_order(ShipOrder(receipt.order_id, f"TRACK-{chance.randrange(10**8):08}"))
    return shipped if fate < ON_THE_WAY else deliver_order(DeliverOrder(receipt.order_id))


def paced(
    count: int,
    rate: float | None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Yield 0 … count - 1, at most ``rate`` per second on the whole: a slow one is caught up with."""
    started_at = clock()
    for number in range(count):
        if rate is not None:
            wait = started_at + number / rate - clock()
            if wait > 0:
                sleep(wait)
        yield number
