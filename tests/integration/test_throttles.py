"""Throttles: no caller gets more than its rate, whatever the number of processes, and hardly a request writes for it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.test import Client

from eventsource_app.checks import check_api
from eventsource_app.http.config import ApiConfig, Rate
from eventsource_app.http.throttles import ThrottledError, Throttles, throttle, throttles_of
from eventsource_app.models import Throttle
from tests.integration.conftest import ConfigureApi
from tests.integration.http_api import assert_problem, client, post
from tests.round_trips import round_trips

pytestmark = pytest.mark.django_db(transaction=True)
HOURLY = Rate(20, 3600)  # so slow that nothing comes back during a test


@pytest.fixture(autouse=True)
def _fresh_process() -> None:
    throttles_of.cache_clear()


def allowed(throttles: Throttles, caller: str, requests: int) -> int:
    count = 0
    for _ in range(requests):
        try:
            throttles.spend(caller)
        except ThrottledError:
            continue
        count += 1
    return count


def make_earlier(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE eventsource_app_throttle SET updated_at = updated_at - make_interval(secs => %s)",
            [seconds],
        )


def test_processes_share_one_bucket() -> None:
    processes = [Throttles(HOURLY) for _ in range(3)]
    assert sum(allowed(process, "a", 15) for process in processes) == 20
    assert allowed(Throttles(HOURLY), "b", 30) == 20


def test_threads_at_once_get_no_more() -> None:
    processes = [Throttles(HOURLY) for _ in range(2)]

    def spend(number: int) -> int:
        try:
            return allowed(processes[number % 2], "a", 10)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(spend, range(8))) == 20


def test_a_bucket_fills_evenly_up_to_its_size() -> None:
    assert allowed(Throttles(HOURLY), "a", 30) == 20
    make_earlier(3600 / 20 * 5)
    assert allowed(Throttles(HOURLY), "a", 30) == 5
    make_earlier(100 * 3600)
    assert allowed(Throttles(HOURLY), "a", 30) == 20


def test_most_requests_ask_nobody() -> None:
    throttles = Throttles(Rate(10_000, 3600))
    throttles.spend("a")
    assert round_trips(lambda: allowed(throttles, "a", 99)) == 0
    assert round_trips(lambda: allowed(throttles, "a", 1)) in (1, 2)  # preparing is one
    assert Throttle.objects.get().permits == pytest.approx(9_800, abs=1)


def test_a_refused_caller_asks_nobody_until_there_is_a_permit_again() -> None:
    throttles = Throttles(HOURLY)
    allowed(throttles, "a", 21)
    assert round_trips(lambda: allowed(throttles, "a", 50)) == 0
    with pytest.raises(ThrottledError) as caught:
        throttles.spend("a")
    assert 170 < caught.value.retry_after_seconds <= 180


def test_the_table_is_unlogged_and_forgets_idle_callers() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'eventsource_app_throttle'")
        assert cursor.fetchone() == ("u",)
    allowed(Throttles(HOURLY), "old", 1)
    make_earlier(2 * 86_400)
    allowed(Throttles(HOURLY), "new", 1)
    call_command("prune", stdout=StringIO())
    assert [row.caller for row in Throttle.objects.all()] == ["new"]


def test_a_caller_over_its_rate_is_429_and_others_are_not(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(throttle="3/h")
    other = client(name="other")
    answers = [api.get("/orders").status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]
    response = post(api, "/orders", {"customer_id": "c", "total": 1}, **{"Idempotency-Key": "k"})
    assert assert_problem(response, 429)["type"] == "urn:problem:throttled"
    assert 0 < int(response["Retry-After"]) <= 1200
    assert other.get("/orders").status_code == 200
    configure_api(throttle="off")
    # A refusal for lack of permits was not this key's answer.
    response = post(api, "/orders", {"customer_id": "c", "total": 1}, **{"Idempotency-Key": "k"})
    assert response.status_code == 201


def test_a_request_with_a_key_costs_one_permit(api: Client, configure_api: ConfigureApi) -> None:
    configure_api(throttle="2/h")
    for key, status in (("a", 201), ("b", 201), ("c", 429)):
        response = post(api, "/orders", {"customer_id": "c", "total": 1}, **{"Idempotency-Key": key})
        assert response.status_code == status


def test_refused_credentials_are_throttled_by_address_and_valid_ones_are_not(
    api: Client, configure_api: ConfigureApi
) -> None:
    configure_api(failure_throttle="2/h", trusted_proxy_count=1)

    def guess(address: str) -> int:
        headers = {"Authorization": "Bearer guess", "X-Forwarded-For": f"6.6.6.6, {address}"}
        status: int = Client(raise_request_exception=False).get("/orders", headers=headers).status_code
        return status

    assert [guess("10.0.0.1") for _ in range(3)] == [401, 401, 429]
    assert guess("10.0.0.2") == 401
    assert api.get("/orders", headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 200


def test_nobody_in_particular_is_throttled_by_address(configure_api: ConfigureApi) -> None:
    configure_api(authentication_required=False, throttle="1/h")
    nobody = Client(raise_request_exception=False)
    assert [nobody.get("/orders").status_code for _ in range(2)] == [200, 429]


def test_off_is_off() -> None:
    for _ in range(3):
        throttle("a", "off")
    assert Throttle.objects.count() == 0


@pytest.mark.parametrize(
    "given",
    [
        {"throttle": "fast"},
        {"throttle": "0/min"},
        {"failure_throttle": "1/day"},
        {"docs": "maybe"},
        {"wait_seconds": -1},
        {"surprise": 1},
    ],
)
def test_what_cannot_be_is_refused_by_check(given: dict[str, Any], configure_api: ConfigureApi) -> None:
    configure_api(**given)
    [error] = check_api(None)
    assert error.id == "eventsource_app.E005"
    if "surprise" not in given:
        with pytest.raises(ImproperlyConfigured, match="EVENTSOURCE"):
            ApiConfig(**given)


def test_two_leases_that_arrive_together_are_both_spent() -> None:
    throttles = Throttles(Rate(300, 3600))  # three at a time
    barrier = threading.Barrier(2)

    def spend() -> None:
        barrier.wait(60)
        throttles.spend("a")
        connection.close()

    threads = [threading.Thread(target=spend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert allowed(throttles, "a", 400) == 298
