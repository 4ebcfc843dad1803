"""?wait_for= and Prefer: wait: a caller reads what it wrote, is woken by the projection, and holds no connection meanwhile."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, connections
from django.test import Client

from eventsource_app.http import reached
from eventsource_app.http.wait_for import MAX_POSITION, room, watcher
from eventsource_app.models import Checkpoint, Event
from eventsource_app.store import EventStore
from eventsource_app.store.notifications import tell_progress
from eventsource_app.testing import run_to_caught_up
from tests.integration.conftest import ConfigureApi
from tests.integration.http_api import assert_problem, client, place, post
from tests.integration.poisoned_orders import PoisonedOrders
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
LONG, SHORT = 60.0, 0.05
NEVER = 3600.0


class Callers:
    """Requests in threads of their own, each with its own connection, as a web process has them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(8)

    def get(self, url: str) -> "Future[Any]":
        return self._threads.submit(self._get, client(), url)

    def post(self, url: str, body: Any, **headers: str) -> "Future[Any]":
        return self._threads.submit(self._post, client(), url, body, headers)

    def close(self) -> None:
        self._threads.shutdown()

    @staticmethod
    def _get(api: Client, url: str) -> Any:
        try:
            return api.get(url)
        finally:
            connection.close()

    @staticmethod
    def _post(api: Client, url: str, body: Any, headers: dict[str, str]) -> Any:
        try:
            return post(api, url, body, **headers)
        finally:
            connection.close()


@pytest.fixture
def callers() -> Iterator[Callers]:
    callers = Callers()
    yield callers
    callers.close()


def waiting() -> int:
    return room._count


def test_an_order_is_answered_once_the_read_model_has_it(
    api: Client, callers: Callers, configure_api: ConfigureApi
) -> None:
    configure_api(wait_seconds=LONG)
    order = place(api)
    answer = callers.get(f"/orders/{order['order_id']}?wait_for={order['position']}")
    wait_for(lambda: waiting() == 1, what="the request to wait")
    assert not answer.done()
    run_to_caught_up("orders")
    assert answer.result().json()["status"] == "created"
    assert waiting() == 0


@pytest.mark.parametrize("what", ["/orders?", "/customers/cust-1?"])
def test_lists_and_customers_wait_too(
    api: Client, callers: Callers, configure_api: ConfigureApi, what: str
) -> None:
    configure_api(wait_seconds=LONG)
    order = place(api)
    answer = callers.get(f"{what}wait_for={order['position']}")
    wait_for(lambda: waiting() == 1, what="the request to wait")
    run_to_caught_up()
    document = answer.result().json()
    assert len(document.get("items", [1])) == document.get("order_count", 1) == 1


def test_what_has_come_so_far_is_answered_at_once(api: Client) -> None:
    order = place(api)
    run_to_caught_up()
    with patch.object(watcher, "wait", side_effect=AssertionError("nobody waits")):
        for url in (
            f"/orders/{order['order_id']}",
            "/orders",
            "/customers/cust-1",
            f"/orders/{order['order_id']}/events",
        ):
            for position in (0, 1, order["position"]):
                assert api.get(f"{url}?wait_for={position}").status_code == 200


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """For each wait: did it end because the read model had come so far? (Whose time is over looks once more.)"""
    ended: list[bool] = []
    wait = watcher.wait

    def note(goal: reached.Goal, seconds: float) -> bool:
        ended.append(wait(goal, seconds))
        return ended[-1]

    monkeypatch.setattr(watcher, "wait", note)
    watcher.close()
    yield ended
    watcher.close()


def wait_and_be_answered(api: Client, callers: Callers) -> None:
    order = place(api)
    answer = callers.get(f"/orders/{order['order_id']}?wait_for={order['position']}")
    wait_for(lambda: waiting() == 1, what="the request to wait")
    run_to_caught_up("orders")
    assert answer.result().status_code == 200


def test_the_projection_wakes_who_waits(
    api: Client,
    callers: Callers,
    configure_api: ConfigureApi,
    monkeypatch: pytest.MonkeyPatch,
    woken: list[bool],
) -> None:
    """Polls so rare that only a notification can end the wait in time."""
    monkeypatch.setattr(reached, "LISTENING_POLL_SECONDS", NEVER)
    configure_api(wait_seconds=20)
    for _ in range(3):
        wait_and_be_answered(api, callers)
    assert woken == [True, True, True]


def test_polling_alone_is_enough(
    api: Client, callers: Callers, configure_api: ConfigureApi, settings: Any, woken: list[bool]
) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "WAKE_UPS": False, "LISTEN": False}
    configure_api(wait_seconds=20)
    wait_and_be_answered(api, callers)
    assert woken == [True]


def test_who_waits_holds_no_connection(api: Client, callers: Callers, configure_api: ConfigureApi) -> None:
    configure_api(wait_seconds=LONG, waiter_count=8)
    order = place(api)

    def others() -> int:
        """Connections of requests: the watcher's own is one for all of them."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend' AND query LIKE %s",
                ["%is_parked%"],
            )
            return int(cursor.fetchone()[0])

    answers = [callers.get(f"/orders/{order['order_id']}?wait_for={order['position']}") for _ in range(6)]
    wait_for(lambda: waiting() == 6, what="all to wait")
    wait_for(lambda: others() == 0, what="their connections to be gone")
    run_to_caught_up("orders")
    assert {answer.result().status_code for answer in answers} == {200}


def test_a_read_model_that_does_not_come_is_503_in_time(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(wait_seconds=SHORT)
    order = place(api)
    response = api.get(f"/orders/{order['order_id']}?wait_for={order['position']}")
    document = assert_problem(response, 503, f"did not reach position {order['position']}")
    assert document["type"] == "urn:problem:read-model-behind"
    assert int(response["Retry-After"]) >= 1
    run_to_caught_up("orders")
    second = place(api)
    response = api.get(f"/orders/{second['order_id']}?wait_for={second['position']}")
    assert_problem(response, 503, f"it is at position {order['position']}")


def test_only_so_many_of_a_process_wait(api: Client, callers: Callers, configure_api: ConfigureApi) -> None:
    configure_api(wait_seconds=LONG, waiter_count=2)
    order = place(api)
    url = f"/orders/{order['order_id']}?wait_for={order['position']}"
    answers = [callers.get(url) for _ in range(2)]
    wait_for(lambda: waiting() == 2, what="both to wait")
    response = api.get(url)
    assert assert_problem(response, 503)["type"] == "urn:problem:too-many-waiting"
    assert response["Retry-After"] == "1"
    run_to_caught_up("orders")
    assert [answer.result().status_code for answer in answers] == [200, 200]


def test_a_parked_order_is_503_at_once_and_the_others_are_answered(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = PoisonedOrders(monkeypatch)
    [parked] = orders.order_ids
    last = Event.objects.filter(aggregate_id=parked).order_by("-position")[0].position
    fine = Event.objects.exclude(aggregate_id=parked).get()
    with patch.object(watcher, "wait", side_effect=AssertionError("nobody waits")):
        for url in (f"/orders/{parked}", "/orders"):
            response = api.get(f"{url}?wait_for={last}")
            assert assert_problem(response, 503)["type"] == "urn:problem:aggregate-parked"
            assert int(response["Retry-After"]) > 0
        assert api.get(f"/orders/{fine.aggregate_id}?wait_for={fine.position}").status_code == 200
        assert api.get(f"/orders?wait_for={fine.position}").status_code == 200


@pytest.mark.parametrize("url", ["/orders", "/orders/{id}", "/orders/{id}/events", "/customers/cust-1"])
def test_a_position_above_the_head_is_422(api: Client, url: str) -> None:
    order = place(api)
    run_to_caught_up()
    for position in (EventStore().head_position() + 1, MAX_POSITION):
        response = api.get(f"{url.format(id=order['order_id'])}?wait_for={position}")
        [error] = assert_problem(response, 422, "above the log's head")["errors"]
        assert (error["location"], error["pointer"]) == ("query", "/wait_for")


@pytest.mark.parametrize("url", ["/orders", "/orders/00000000-0000-4000-8000-000000000000", "/customers/c"])
@pytest.mark.parametrize("position", ["", "x", "-1", "1.5", "9" * 30, "%00", "1e3", "NaN"])
def test_a_malformed_position_is_422(api: Client, url: str, position: str) -> None:
    [error] = assert_problem(api.get(f"{url}?wait_for={position}"), 422)["errors"]
    assert (error["location"], error["pointer"]) == ("query", "/wait_for")


def test_only_the_partition_of_the_order_counts(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(wait_seconds=SHORT)
    order = place(api)
    run_to_caught_up("orders")
    slot = Event.objects.get().slot
    row = Checkpoint.objects.get(subscription="orders")
    row.partition_count, row.partition = 2, slot % 2
    row.save()
    Checkpoint.objects.create(subscription="orders", partition_count=2, partition=1 - slot % 2, position=0)
    assert api.get(f"/orders/{order['order_id']}?wait_for={order['position']}").status_code == 200
    assert_problem(api.get(f"/orders?wait_for={order['position']}"), 503, "did not reach")


def test_a_database_that_goes_away_while_one_waits_is_503(
    api: Client, callers: Callers, configure_api: ConfigureApi
) -> None:
    configure_api(wait_seconds=1)
    order = place(api)
    answer = callers.get(f"/orders/{order['order_id']}?wait_for={order['position']}")
    wait_for(lambda: waiting() == 1, what="the request to wait")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert_problem(answer.result(), 503)


# What a command may prefer


@pytest.mark.parametrize("preference", ["wait", "wait=30", "respond-async, wait=30", 'Wait = "30"'])
def test_a_command_that_prefers_to_wait_is_answered_by_the_read_model(
    callers: Callers, configure_api: ConfigureApi, preference: str
) -> None:
    configure_api(wait_seconds=LONG)
    answer = callers.post("/orders", {"customer_id": "ada", "total": "5"}, Prefer=preference)
    wait_for(lambda: waiting() == 1, what="the command to wait")
    assert Event.objects.count() == 1  # it is carried out, whatever becomes of the wait
    run_to_caught_up("orders")
    response = answer.result()
    assert (response.status_code, response["Preference-Applied"], response["ETag"]) == (201, "wait", '"1"')
    assert (
        response.json().items()
        >= {"customer_id": "ada", "total": "5.00", "status": "created", "version": 1}.items()
    )
    assert response["Location"].endswith(response.json()["order_id"])


def test_a_preference_that_cannot_be_had_costs_nothing(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(wait_seconds=SHORT)
    response = post(api, "/orders", {"customer_id": "ada", "total": "5"}, Prefer="wait")
    assert response.status_code == 201
    assert "Preference-Applied" not in response
    assert set(response.json()) == {"order_id", "status", "version", "position"}
    configure_api(waiter_count=0)
    assert post(api, "/orders", {"customer_id": "ada", "total": "5"}, Prefer="wait").status_code == 201


@pytest.mark.parametrize(
    "preference", ["", "wait=", "wait=x", "waiting", "wait=-1", "\xff", "wait=99999999999"]
)
def test_another_preference_is_ignored(api: Client, preference: str) -> None:
    with patch.object(watcher, "wait", side_effect=AssertionError("nobody waits")):
        response = post(api, "/orders", {"customer_id": "ada", "total": "5"}, Prefer=preference)
    assert response.status_code == 201


def test_with_a_key_the_answer_stays_the_first_one_and_waits(
    api: Client, callers: Callers, configure_api: ConfigureApi
) -> None:
    configure_api(wait_seconds=LONG)
    headers = {"Prefer": "wait", "Idempotency-Key": "k"}
    answer = callers.post("/orders", {"customer_id": "ada", "total": "5"}, **headers)
    wait_for(lambda: waiting() == 1, what="the command to wait")
    run_to_caught_up("orders")
    first = answer.result()
    again = post(api, "/orders", {"customer_id": "ada", "total": "5"}, **headers)
    assert first.content == again.content
    assert first["Preference-Applied"] == again["Preference-Applied"] == "wait"


def test_a_refused_command_does_not_wait(api: Client) -> None:
    with patch.object(watcher, "wait", side_effect=AssertionError("nobody waits")):
        assert_problem(post(api, "/orders", {}, Prefer="wait"), 422)


def test_the_watcher_ends_when_nobody_waits(
    api: Client, configure_api: ConfigureApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reached, "IDLE_SECONDS", 0.0)
    configure_api(wait_seconds=SHORT)
    order = place(api)
    for _ in range(2):
        assert_problem(api.get(f"/orders?wait_for={order['position']}"), 503)
        watcher._bell.ring()
        wait_for(lambda: watcher._thread is None, what="the watcher to end")


def test_progress_is_told_by_a_thread_of_its_own() -> None:
    tell_progress("default")
    assert not connections["default"].in_atomic_block
