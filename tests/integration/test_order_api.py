"""The order API by its contract: every answer, and every refusal as a problem document."""

import json
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.http import HttpResponse
from django.middleware.common import CommonMiddleware
from django.test import Client
from django.urls import path
from django.utils.deprecation import MiddlewareMixin
from psycopg.errors import ReadOnlySqlTransaction

from eventsource_app.http.api_errors import MOST_FIELDS
from eventsource_app.observability.metrics import http_requests
from eventsource_app.store import EventStore, ExpectedVersion, StreamId, WrongExpectedVersionError
from orders import services
from settings import urls
from tests.integration.http_api import assert_problem, follow_the_log, place, post

# Fixed, since every process of a parallel run must collect the same tests.
NO_ORDER = "00000000-0000-4000-8000-000000000000"
pytestmark = pytest.mark.django_db


def boom(request: object) -> HttpResponse:
    raise RuntimeError("a secret that nobody may see")


def away(request: object) -> HttpResponse:
    raise OperationalError("connection refused at 10.0.0.7")


def write_to_a_standby(request: object) -> HttpResponse:
    raise InternalError("cannot execute INSERT") from ReadOnlySqlTransaction("cannot execute INSERT")


# This module serves as a URLconf with three routes more.
urlpatterns = [*urls.urlpatterns, path("boom", boom), path("away", away), path("standby", write_to_a_standby)]
handler500 = urls.handler500


# Commands


def test_placing_an_order_answers_its_receipt_location_and_etag(api: Client) -> None:
    response = post(api, "/orders", {"customer_id": "cust-1", "total": "499.99"})
    receipt = response.json()
    assert response.status_code == 201
    assert set(receipt) == {"order_id", "status", "version", "position"}
    assert (receipt["status"], receipt["version"]) == ("created", 1)
    assert receipt["position"] == EventStore().read_all()[-1].position
    assert response["Location"] == f"/orders/{receipt['order_id']}"
    assert response["ETag"] == '"1"'


def test_an_order_goes_all_the_way(api: Client) -> None:
    order_id = place(api)["order_id"]
    for version, (verb, body, status) in enumerate(
        [("ship", {"tracking_number": "T-1"}, "shipped"), ("deliver", {}, "delivered")], start=2
    ):
        response = post(api, f"/orders/{order_id}/{verb}", body)
        assert response.status_code == 200
        assert (response.json()["status"], response.json()["version"]) == (status, version)
        assert response["ETag"] == f'"{version}"'


def test_cancelling_answers_the_receipt(api: Client) -> None:
    response = post(api, f"/orders/{place(api)['order_id']}/cancel", {"reason": "too late"})
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")


def test_delivering_needs_no_body(api: Client) -> None:
    order_id = place(api)["order_id"]
    post(api, f"/orders/{order_id}/ship", {"tracking_number": "T-1"})
    assert api.generic("POST", f"/orders/{order_id}/deliver").status_code == 200


def test_the_caller_may_choose_the_id_once(api: Client) -> None:
    order_id = str(uuid4())
    assert place(api, order_id=order_id)["order_id"] == order_id
    again = post(api, "/orders", {"customer_id": "cust-1", "total": "10.00", "order_id": order_id})
    assert_problem(again, 409, "Order already exists")
    assert len(EventStore().read_all()) == 1


@pytest.mark.parametrize(
    ("total", "shown"),
    [
        ("499.99", "499.99"),
        (499.99, "499.99"),
        (5, "5.00"),
        ("0.1", "0.10"),
        ("RAW:0.30", "0.30"),
        ("RAW:123456789012.34", "123456789012.34"),
        ("RAW:1e2", "100.00"),
    ],
)
def test_money_survives_as_text_and_as_number(api: Client, total: Any, shown: str) -> None:
    raw = (
        total.removeprefix("RAW:")
        if isinstance(total, str) and total.startswith("RAW:")
        else json.dumps(total)
    )
    response = post(api, "/orders", f'{{"customer_id": "c", "total": {raw}}}')
    assert response.status_code == 201, response.content
    follow_the_log()
    assert api.get(response["Location"]).json()["total"] == shown


def test_the_request_id_becomes_the_events_correlation_id(api: Client) -> None:
    response = post(api, "/orders", {"customer_id": "c", "total": 1}, **{"X-Request-ID": "req-77"})
    assert response["X-Request-ID"] == "req-77"
    assert EventStore().read_all()[-1].correlation_id == "req-77"


# Refusals


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"total": "1.00"}, "/customer_id"),
        ({"customer_id": "c"}, "/total"),
        ({"customer_id": "", "total": "1"}, "/customer_id"),
        ({"customer_id": "a\x00b", "total": "1"}, "/customer_id"),
        ({"customer_id": "\ud800", "total": "1"}, "/customer_id"),
        ({"customer_id": 5, "total": "1"}, "/customer_id"),
        ({"customer_id": "c", "total": "1.001"}, "/total"),
        ({"customer_id": "c", "total": 0}, "/total"),
        ({"customer_id": "c", "total": -1}, "/total"),
        ({"customer_id": "c", "total": "NaN"}, "/total"),
        ({"customer_id": "c", "total": True}, "/total"),
        ({"customer_id": "c", "total": None}, "/total"),
        ({"customer_id": "c", "total": 10**12}, "/total"),
        ({"customer_id": "c", "total": 10**400}, "/total"),
        ({"customer_id": "c", "total": "1", "order_id": "no-uuid"}, "/order_id"),
        ({"customer_id": "c", "total": "1", "ordre_id": NO_ORDER}, "/ordre_id"),
        ([], ""),
        ("text", None),
        (None, "/customer_id"),
    ],
)
def test_an_invalid_field_is_named(api: Client, body: Any, field: str | None) -> None:
    document = assert_problem(post(api, "/orders", json.dumps(body) if isinstance(body, str) else body), 422)
    pointers = [error["pointer"] for error in document["errors"]]
    assert field is None or field in pointers
    assert all(error["detail"] and error["location"] == "body" for error in document["errors"])
    assert EventStore().read_all() == []


def test_every_invalid_field_is_named_at_once(api: Client) -> None:
    document = assert_problem(post(api, "/orders", {"customer_id": " ", "total": "x"}), 422)
    assert [error["pointer"] for error in document["errors"]] == ["/customer_id", "/total"]
    assert document["errors"][0]["detail"] == "Customer id must not be empty."


def test_a_body_of_wrong_fields_only_does_not_make_an_answer_of_megabytes(api: Client) -> None:
    response = post(api, "/orders", {f"field{number}": 0 for number in range(5_000)})
    assert len(assert_problem(response, 422)["errors"]) == MOST_FIELDS


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("ship", {}, "/tracking_number"),
        ("ship", {"tracking_number": ""}, "/tracking_number"),
        ("cancel", {}, "/reason"),
        ("deliver", {"x": 1}, "/x"),
    ],
)
def test_a_verbs_invalid_field_is_named(api: Client, verb: str, body: Any, field: str) -> None:
    document = assert_problem(post(api, f"/orders/{place(api)['order_id']}/{verb}", body), 422)
    assert [error["pointer"] for error in document["errors"]] == [field]


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        b"\xff\xff",
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        '{"total": 1e99999999999999999999}',
    ],
)
def test_an_unreadable_body_is_400(api: Client, body: Any) -> None:
    response = post(api, "/orders", body)
    # No body at all is readable and lacks every field.
    assert_problem(response, 400 if body else 422)


def test_a_body_that_is_too_large_is_413(api: Client, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert_problem(post(api, "/orders", {"customer_id": "c" * 200, "total": 1}), 413)


@pytest.mark.parametrize(
    ("first", "verb", "body"),
    [
        (None, "deliver", {}),
        ("cancel", "ship", {"tracking_number": "T"}),
        ("cancel", "cancel", {"reason": "again"}),
        ("ship", "cancel", {"reason": "too late"}),
        ("ship", "ship", {"tracking_number": "T"}),
    ],
)
def test_a_verb_that_the_status_forbids_is_409(api: Client, first: str | None, verb: str, body: Any) -> None:
    order_id = place(api)["order_id"]
    if first:
        post(
            api,
            f"/orders/{order_id}/{first}",
            {"ship": {"tracking_number": "T"}, "cancel": {"reason": "r"}}[first],
        )
    document = assert_problem(
        post(api, f"/orders/{order_id}/{verb}", body), 409, f"Cannot {verb} order in current state"
    )
    assert document["type"] == "urn:problem:order-state"


def test_a_race_lost_for_good_is_409(api: Client) -> None:
    order_id = place(api)["order_id"]
    lost = WrongExpectedVersionError(StreamId("Order", UUID(order_id)), ExpectedVersion.exact(1), 2)
    with patch.object(EventStore, "append", side_effect=lost), patch("time.sleep"):
        response = post(api, f"/orders/{order_id}/ship", {"tracking_number": "T"})
    assert assert_problem(response, 409)["type"] == "urn:problem:lost-race"


@pytest.mark.parametrize("verb", ["ship", "deliver", "cancel"])
def test_a_command_for_no_order_is_404(api: Client, verb: str) -> None:
    order_id = uuid4()
    body = {"ship": {"tracking_number": "T"}, "cancel": {"reason": "r"}, "deliver": {}}[verb]
    assert_problem(post(api, f"/orders/{order_id}/{verb}", body), 404, str(order_id))


@pytest.mark.parametrize("url", ["/nowhere", "/orders/", "/order", f"/orders/{NO_ORDER}/nothing", "/"])
def test_an_unrouted_path_is_404(api: Client, url: str) -> None:
    assert_problem(api.get(url), 404)


def test_djangos_debug_page_is_a_problem_too(api: Client, settings: Any) -> None:
    settings.DEBUG = True
    assert_problem(api.get("/nowhere"), 404)


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("delete", "/orders", "GET"),
        ("put", f"/orders/{NO_ORDER}", "GET"),
        ("get", f"/orders/{NO_ORDER}/ship", "POST"),
    ],
)
def test_a_method_that_a_path_lacks_is_405_and_says_which_it_has(
    api: Client, method: str, url: str, allowed: str
) -> None:
    response = getattr(api, method)(url)
    assert_problem(response, 405)
    assert allowed in response["Allow"]


def test_a_head_is_answered_as_the_get_without_its_content(api: Client) -> None:
    url = f"/orders/{place(api)['order_id']}"
    follow_the_log()
    for asked, status in [
        (url, 200),
        ("/orders?limit=1", 200),
        (f"{url}/events", 200),
        ("/customers/cust-1", 200),
        (f"/orders/{NO_ORDER}", 404),
        ("/orders?limit=0", 422),
        ("/api/openapi.json", 200),
    ]:
        same = {"X-Request-ID": "the-same"}
        get, head = api.get(asked, headers=same), api.head(asked, headers=same)
        assert (head.status_code, head.content) == (status, b"")
        assert dict(head.headers) == dict(get.headers)
        assert int(head["Content-Length"]) == len(get.content)
    assert api.head(url, headers={"If-None-Match": '"1"'}).status_code == 304
    assert Client().head(url).status_code == 401


@pytest.mark.parametrize(
    ("method", "url", "allowed"),
    [
        ("delete", "/orders", {"GET", "HEAD", "POST"}),
        ("put", f"/orders/{NO_ORDER}", {"GET", "HEAD"}),
        ("head", f"/orders/{NO_ORDER}/ship", {"POST"}),
        ("get", f"/orders/{NO_ORDER}/ship", {"POST"}),
        ("post", "/api/docs", {"GET", "HEAD"}),
        ("delete", "/api/openapi.json", {"GET", "HEAD"}),
    ],
)
def test_head_is_allowed_where_get_is(api: Client, method: str, url: str, allowed: set[str]) -> None:
    response = getattr(api, method)(url)
    assert response.status_code == 405
    assert set(response["Allow"].split(", ")) == allowed


def test_a_head_is_counted_as_what_it_was(api: Client) -> None:
    counter = http_requests.labels("HEAD", "/orders", "200")
    before = counter._value.get()
    response = api.head("/orders")
    assert counter._value.get() == before + 1
    assert response.wsgi_request.method == "HEAD"


@pytest.mark.parametrize(
    "error", [OperationalError("connection refused at 10.0.0.7"), InterfaceError("closed")]
)
def test_a_database_that_is_away_is_503_with_retry_after(api: Client, error: Exception) -> None:
    with patch("orders.services.place_order", side_effect=error):
        response = post(api, "/orders", {"customer_id": "c", "total": 1})
    assert_problem(response, 503)
    assert int(response["Retry-After"]) > 0
    assert b"10.0.0.7" not in response.content


def test_a_bug_in_a_command_is_500_logged_and_not_shown(
    api: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with patch("orders.services.place_order", side_effect=RuntimeError("a secret")):
        response = post(api, "/orders", {"customer_id": "c", "total": 1})
    assert_problem(response, 500)
    assert b"secret" not in response.content
    assert any(record.exc_info and "a secret" in str(record.exc_info[1]) for record in caplog.records)


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_outside_the_api_is_500(api: Client, settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    assert b"secret" not in assert_and_content(api.get("/boom"))


def test_a_database_that_takes_no_writes_is_503_with_retry_after(api: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT before")
        cursor.execute("SET LOCAL transaction_read_only = on")  # as a standby has it during a failover
        response = post(api, "/orders", {"customer_id": "cust-1", "total": "10.00"})
        cursor.execute("ROLLBACK TO before")
    assert_problem(response, 503)
    assert response["Retry-After"]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/away", "/standby"])
def test_a_database_that_is_away_or_takes_no_writes_is_503_outside_the_api_too(
    api: Client, address: str
) -> None:
    response = api.get(address)
    assert_problem(response, 503)
    assert int(response["Retry-After"]) > 0


def assert_and_content(response: Any) -> bytes:
    assert_problem(response, 500)
    return bytes(response.content)


def test_a_host_that_is_not_ours_is_400(api: Client) -> None:
    assert_problem(api.get("/orders", headers={"Host": "evil.example"}), 400)


def test_people_in_the_admin_get_pages(api: Client) -> None:
    response = api.get("/admin/nowhere/")
    assert response["Content-Type"].startswith("text/html")


# Questions


def test_an_order_can_be_asked_for_once_the_read_model_has_it(api: Client) -> None:
    receipt = place(api, total=499.99)
    url = f"/orders/{receipt['order_id']}"
    assert_problem(api.get(url), 404, receipt["order_id"])
    follow_the_log()
    response = api.get(url)
    assert response.json() == {
        "order_id": receipt["order_id"],
        "customer_id": "cust-1",
        "total": "499.99",
        "status": "created",
        "tracking_number": None,
        "version": 1,
        "position": receipt["position"],
    }
    assert response["ETag"] == '"1"'


@pytest.mark.parametrize("url", ["/orders/no-uuid", "/orders/no-uuid/events"])
def test_an_id_that_is_none_is_422(api: Client, url: str) -> None:
    document = assert_problem(api.get(url), 422)
    assert document["errors"][0]["location"] == "path"
    assert document["errors"][0]["pointer"] == "/order_id"


def test_the_list_is_newest_first_and_pages_without_gap_or_repetition(api: Client) -> None:
    ids = [place(api)["order_id"] for _ in range(7)]
    follow_the_log()
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page: dict[str, Any] = api.get(f"/orders?limit=3{cursor and '&cursor=' + cursor}").json()
        seen += [order["order_id"] for order in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ids[::-1]


def test_a_full_last_page_says_that_it_is_the_last(api: Client) -> None:
    for _ in range(3):
        place(api)
    follow_the_log()
    assert api.get("/orders?limit=3").json()["next_cursor"] is None


def test_a_list_can_be_narrowed(api: Client) -> None:
    place(api, customer_id="a")
    mine = place(api, customer_id="b")["order_id"]
    cancelled = place(api, customer_id="b")["order_id"]
    post(api, f"/orders/{cancelled}/cancel", {"reason": "r"})
    follow_the_log()

    def listed(query: str) -> list[str]:
        return [order["order_id"] for order in api.get(f"/orders?{query}").json()["items"]]

    assert listed("customer_id=b") == [cancelled, mine]
    assert listed("customer_id=b&status=created") == [mine]
    assert listed("status=cancelled") == [cancelled]
    assert listed("customer_id=nobody") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "/status"),
        ("cursor=made-up", "/cursor"),
        ("cursor=", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("cursor=Af__________", "/cursor"),
        ("customer_id=%00", "/customer_id"),
        ("limit=0", "/limit"),
        ("limit=1000000", "/limit"),
        ("limit=x", "/limit"),
    ],
)
def test_a_made_up_query_is_422(api: Client, query: str, field: str) -> None:
    document = assert_problem(api.get(f"/orders?{query}"), 422)
    assert [(e["location"], e["pointer"]) for e in document["errors"]] == [("query", field)]


def test_an_orders_history_comes_from_the_log(api: Client) -> None:
    order_id = place(api, total="12.50")["order_id"]
    post(api, f"/orders/{order_id}/ship", {"tracking_number": "T-9"})
    document = api.get(f"/orders/{order_id}/events").json()
    assert document["order_id"] == order_id
    assert [(e["event_type"], e["version"], e["data"]) for e in document["events"]] == [
        ("OrderCreated", 1, {"customer_id": "cust-1", "total": "12.50"}),
        ("OrderShipped", 2, {"tracking_number": "T-9"}),
    ]
    assert all(e["occurred_at"].endswith("Z") and e["recorded_at"] for e in document["events"])


def test_the_history_of_no_order_is_404(api: Client) -> None:
    assert_problem(api.get(f"/orders/{uuid4()}/events"), 404)


def test_a_customer_counts_what_was_not_cancelled(api: Client) -> None:
    place(api, customer_id="a/b", total="10.10")
    place(api, customer_id="a/b", total="5")
    post(api, f"/orders/{place(api, customer_id='a/b')['order_id']}/cancel", {"reason": "r"})
    follow_the_log()
    assert api.get("/customers/a/b").json() == {
        "customer_id": "a/b",
        "order_count": 2,
        "total_spent": "15.10",
    }


def test_an_unknown_customer_is_404_and_an_impossible_one_422(api: Client) -> None:
    assert_problem(api.get("/customers/nobody"), 404, "nobody")
    assert_problem(api.get("/customers/%00"), 422)


def test_the_api_documents_itself_offline(api: Client) -> None:
    schema = api.get("/api/openapi.json").json()
    assert set(schema["paths"]["/orders"]) == {"get", "post"}
    assert api.get("/api/docs").status_code == 200


@pytest.mark.parametrize(
    "middleware", [SessionMiddleware, MessageMiddleware, AuthenticationMiddleware, CommonMiddleware]
)
def test_the_api_passes_by_what_only_pages_need(api: Client, middleware: type[MiddlewareMixin]) -> None:
    passed = AssertionError("not on the API's way")
    with patch.object(middleware, "process_request", side_effect=passed):
        response = post(api, "/orders", {"customer_id": "c", "total": 1})
        assert response.status_code == 201
        assert int(response["Content-Length"]) == len(response.content)
        assert api.get("/orders").status_code == 200
        assert api.get("/admin/").status_code == 500


def test_services_share_one_repository() -> None:
    assert services.order_repository() is services.order_repository()
