"""Idempotency-Key: one request, however often it is sent, does its work once and has one answer."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client

from eventsource_app.http import idempotency
from eventsource_app.models import Event, IdempotencyKey
from eventsource_app.store import EventStore
from orders import services
from orders.commands import ShipOrder
from tests.integration.conftest import ConfigureApi
from tests.integration.http_api import assert_problem, client, place, post
from tests.round_trips import round_trips

pytestmark = pytest.mark.django_db(transaction=True)
ORDER = {"customer_id": "cust-1", "total": "10.00"}


def kept(response: Any) -> tuple[int, bytes, dict[str, str]]:
    """What a repeated answer must have in common with the first."""
    names = ("Content-Type", "ETag", "Location")
    return response.status_code, response.content, {name: response.get(name) for name in names}


def with_key(api: Client, url: str, body: Any, key: str = "key-1", **headers: str) -> Any:
    return post(api, url, body, **{"Idempotency-Key": key, **headers})


def make_older(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE eventsource_app_idempotencykey SET created_at = created_at - make_interval(secs => %s)",
            [seconds],
        )


def test_the_first_answer_comes_again_byte_for_byte(api: Client) -> None:
    first, again = (with_key(api, "/orders", ORDER) for _ in range(2))
    assert first.status_code == 201
    assert kept(again) == kept(first)
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert again["X-Request-ID"] != first["X-Request-ID"]
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("verb", "body"), [("ship", {"tracking_number": "T-1"}), ("cancel", {"reason": "r"})]
)
def test_every_command_takes_a_key(api: Client, verb: str, body: Any) -> None:
    url = f"/orders/{place(api)['order_id']}/{verb}"
    first, again = (with_key(api, url, body) for _ in range(2))
    assert first.status_code == 200
    assert kept(again) == kept(first)
    assert Event.objects.count() == 2


@pytest.mark.parametrize(
    ("url", "body", "status"),
    [
        ("/orders/{shipped}/cancel", {"reason": "r"}, 409),
        ("/orders", {**ORDER, "order_id": "{shipped}"}, 409),
        (f"/orders/{UUID(int=7)}/deliver", {}, 404),
        ("/orders", {"customer_id": ""}, 422),
        ("/orders", "{", 400),
    ],
)
def test_a_refusal_is_an_answer_too(api: Client, url: str, body: Any, status: int) -> None:
    shipped = place(api)["order_id"]
    post(api, f"/orders/{shipped}/ship", {"tracking_number": "T"})
    if isinstance(body, dict):
        body = {name: str(value).format(shipped=shipped) for name, value in body.items()}
    first, again = (with_key(api, url.format(shipped=shipped), body) for _ in range(2))
    assert first.status_code == status
    assert kept(again) == kept(first)


def test_a_refusal_stands_when_the_order_could_do_it_by_now(api: Client) -> None:
    order_id = place(api)["order_id"]
    early = with_key(api, f"/orders/{order_id}/deliver", {})
    post(api, f"/orders/{order_id}/ship", {"tracking_number": "T"})
    assert kept(with_key(api, f"/orders/{order_id}/deliver", {})) == kept(early)
    assert with_key(api, f"/orders/{order_id}/deliver", {}, "key-2").status_code == 200


@pytest.mark.parametrize(
    ("url", "body", "headers"),
    [
        ("/orders", {**ORDER, "total": "10.01"}, {}),
        ("/orders", ORDER, {"If-Match": '"1"'}),
        (f"/orders/{UUID(int=7)}/deliver", ORDER, {}),
    ],
)
def test_another_request_with_the_key_is_422(
    api: Client, url: str, body: Any, headers: dict[str, str]
) -> None:
    with_key(api, "/orders", ORDER)
    document = assert_problem(with_key(api, url, body, **headers), 422)
    assert document["type"] == "urn:problem:idempotency-key-reused"
    assert Event.objects.count() == 1


def test_keys_do_not_meet(api: Client) -> None:
    answers = [with_key(api, "/orders", ORDER, key) for key in ("a", "b")]
    assert len({answer.json()["order_id"] for answer in answers}) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "caf\xe9", "tab\tin", "\x7f"])
def test_a_malformed_key_is_400_and_does_nothing(api: Client, key: str) -> None:
    assert_problem(with_key(api, "/orders", ORDER, key), 400, "Idempotency-Key")
    assert Event.objects.count() == 0


@pytest.mark.parametrize("key", ["x" * 255, '"quoted"', "!~", str(UUID(int=1))])
def test_any_visible_ascii_will_do(api: Client, key: str) -> None:
    assert kept(with_key(api, "/orders", ORDER, key)) == kept(with_key(api, "/orders", ORDER, key))
    assert Event.objects.count() == 1


def test_a_request_without_a_key_is_one_round_trip(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(token_cache_seconds=600)

    def ship() -> None:
        assert post(api, f"/orders/{orders.pop()}/ship", {"tracking_number": "T"}).status_code == 200

    orders = [place(api)["order_id"] for _ in range(2)]
    ship()  # the first of each prepares its statements
    assert round_trips(lambda: place(api)) == 1
    assert round_trips(ship) == 2  # it is loaded first; no transaction is begun
    assert IdempotencyKey.objects.count() == 0


@contextmanager
def held_up(function: str) -> Iterator[threading.Event]:
    """Send the request from elsewhere and stop it at that function of the module, until the event is set."""
    entered, leave = threading.Event(), threading.Event()
    original = getattr(idempotency, function)

    def wait(*arguments: Any) -> Any:
        if not entered.is_set():
            entered.set()
            assert leave.wait(60)
        return original(*arguments)

    with patch.object(idempotency, function, wait), ThreadPoolExecutor(1) as other:
        first = other.submit(in_a_thread, lambda: with_key(client(), "/orders", ORDER))
        assert entered.wait(60)
        yield leave
        leave.set()
        assert first.result().status_code == 201


def in_a_thread(call: Callable[[], Any]) -> Any:
    try:
        return call()
    finally:
        connection.close()


def test_a_key_in_flight_is_409_at_once_and_the_first_answer_afterwards(api: Client) -> None:
    with held_up("_store") as leave:
        response = with_key(api, "/orders", ORDER)  # would wait for ever if it waited
        assert_problem(response, 409)
        assert response.json()["type"] == "urn:problem:idempotency-key-in-flight"
        assert response["Retry-After"] == "1"
        assert with_key(api, "/orders", ORDER, "another").status_code == 201
        leave.set()
    assert with_key(api, "/orders", ORDER).status_code == 201
    assert Event.objects.count() == 2


def test_twenty_at_once_make_one_order() -> None:
    def send(_: int) -> Any:
        return in_a_thread(lambda: with_key(client(), "/orders", ORDER))

    with ThreadPoolExecutor(20) as callers:
        answers = list(callers.map(send, range(20)))
    created = [answer for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in created}) == 1
    assert Event.objects.count() == IdempotencyKey.objects.count() == 1


def test_the_answer_and_the_event_are_stored_together_or_not_at_all(api: Client) -> None:
    with patch.object(idempotency, "_store", side_effect=OperationalError("gone")):
        assert_problem(with_key(api, "/orders", ORDER), 503)
    assert Event.objects.count() == IdempotencyKey.objects.count() == 0
    assert with_key(api, "/orders", ORDER).status_code == 201


@pytest.mark.parametrize(("error", "status"), [(OperationalError("away"), 503), (RuntimeError("bug"), 500)])
def test_what_is_not_about_the_request_is_not_kept(api: Client, error: Exception, status: int) -> None:
    with patch.object(services, "place_order", side_effect=error):
        assert_problem(with_key(api, "/orders", ORDER), status)
    assert with_key(api, "/orders", ORDER).status_code == 201


def test_a_lost_race_is_run_again_as_a_whole(api: Client) -> None:
    order_id = place(api)["order_id"]
    append, rivals = EventStore.append, [lambda: services.ship_order(ShipOrder(UUID(order_id), "rival"))]

    def lose_once(store: EventStore, *arguments: Any) -> Any:
        if rivals:
            rival = threading.Thread(target=in_a_thread, args=(rivals.pop(),))
            rival.start()
            rival.join()
        return append(store, *arguments)

    with patch.object(EventStore, "append", lose_once):
        response = with_key(api, f"/orders/{order_id}/cancel", {"reason": "r"})
    assert assert_problem(response, 409)["type"] == "urn:problem:order-state"


def test_a_pruned_key_is_409_and_never_a_second_order(api: Client) -> None:
    first = with_key(api, "/orders", ORDER)
    make_older(25 * 3600)
    call_command("prune")
    assert IdempotencyKey.objects.count() == 0
    for body in (ORDER, {**ORDER, "total": "11.00"}):
        document = assert_problem(with_key(api, "/orders", body), 409)
        assert document["type"] == "urn:problem:idempotency-key-forgotten"
    assert Event.objects.count() == 1
    assert str(Event.objects.get().aggregate_id) == first.json()["order_id"]


def test_keys_are_kept_for_24_hours(api: Client) -> None:
    first = with_key(api, "/orders", ORDER)
    make_older(23 * 3600)
    call_command("prune", days=0)
    assert kept(with_key(api, "/orders", ORDER)) == kept(first)


def test_even_without_looking_first_the_ids_forbid_a_second_order(api: Client) -> None:
    with_key(api, "/orders", ORDER)
    make_older(25 * 3600)
    call_command("prune")
    with patch.object(idempotency, "FIND", idempotency.FIND.replace("EXISTS", "false AND EXISTS")):
        with_key(api, "/orders", ORDER)
        with_key(api, "/orders", {**ORDER, "total": "11.00"}, "key-1")
    assert Event.objects.count() == 1
