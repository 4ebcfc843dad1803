"""``manage.py place_orders``: real orders, a plausible mix, clear usage errors."""

from io import StringIO
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from eventsource_app.management.termination import TerminatedError
from eventsource_app.store import EventStore


@pytest.mark.django_db
def test_it_places_that_many_real_orders_of_every_status() -> None:
    out = StringIO()
    call_command("place_orders", "60", seed=1, stdout=out)
    types = [each.event_type for each in EventStore().read_all(limit=1000)]
    assert types.count("OrderCreated") == 60
    assert set(types) == {"OrderCreated", "OrderShipped", "OrderDelivered", "OrderCancelled"}
    assert out.getvalue().startswith("Placed 60 orders: ")


@pytest.mark.parametrize(
    "arguments", [["-1"], ["x"], [], ["5", "--rate", "0"], ["5", "--rate", "nan"], ["5", "--rate", "inf"]]
)
def test_an_impossible_argument_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=r"argument|required"):
        call_command("place_orders", *arguments)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("error", "words", "status"),
    [
        (OperationalError("gone"), "went away after 0 orders: gone", 1),
        (KeyboardInterrupt(), "Interrupted after 0 orders", 130),
        (TerminatedError(), "Interrupted after 0 orders", 143),
    ],
)
def test_an_early_end_says_how_far_it_came(error: BaseException, words: str, status: int) -> None:
    with (
        patch("orders.management.commands.place_orders.live_through_one_order", side_effect=error),
        pytest.raises(CommandError, match=words) as ended,
    ):
        call_command("place_orders", "5")
    assert ended.value.returncode == status
