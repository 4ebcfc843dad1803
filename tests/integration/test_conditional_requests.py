"""If-Match makes a command conditional, If-None-Match a question: a stale caller is told what is there now."""

from typing import Any

import pytest
from django.test import Client
from hypothesis import example, given
from hypothesis import strategies as st

from eventsource_app.http.etag import InvalidPreconditionError, PreconditionFailedError, precondition
from eventsource_app.store import EventStore
from tests.integration.http_api import assert_problem, follow_the_log, place, post

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(api: Client) -> str:
    return f"/orders/{place(api)['order_id']}"


def ship(api: Client, order: str, if_match: str) -> Any:
    return post(api, f"{order}/ship", {"tracking_number": "T"}, **{"If-Match": if_match})


@pytest.mark.parametrize("tag", ['"1"', "*", '"7", "1"', '"1",', ' "1" ', ',, "x" ,"1"', 'W/"3","1"'])
def test_a_command_for_what_the_caller_saw_is_carried_out(api: Client, order: str, tag: str) -> None:
    response = ship(api, order, tag)
    assert (response.status_code, response["ETag"]) == (200, '"2"')


@pytest.mark.parametrize("tag", ['"0"', '"2"', '"01"', 'W/"1"', '"2", "3"', '""', '"abc"', f'"{9**99}"'])
def test_a_stale_one_is_412_with_the_present_etag(api: Client, order: str, tag: str) -> None:
    response = ship(api, order, tag)
    assert assert_problem(response, 412)["type"] == "urn:problem:precondition-failed"
    assert response["ETag"] == '"1"'
    assert len(EventStore().read_all()) == 1


@pytest.mark.parametrize(
    "tag", ["1", "", ",", '"1', '1"', '"1" "2"', "*, *", 'w/"1"', "'1'", '"a b"', "\xff"]
)
def test_a_malformed_one_is_400(api: Client, order: str, tag: str) -> None:
    assert_problem(ship(api, order, tag), 400, "If-Match")
    assert len(EventStore().read_all()) == 1


def test_being_stale_comes_before_what_the_status_forbids(api: Client, order: str) -> None:
    ship(api, order, '"1"')
    assert_problem(ship(api, order, '"1"'), 412)
    assert_problem(ship(api, order, '"2"'), 409)


def test_a_new_order_matches_nothing(api: Client) -> None:
    response = post(api, "/orders", {"customer_id": "c", "total": 1}, **{"If-Match": "*"})
    assert_problem(response, 412, "nothing yet")
    assert "ETag" not in response
    assert EventStore().read_all() == []


def test_what_has_no_tag(api: Client, order: str) -> None:
    follow_the_log()
    for response in (
        api.get(f"{order}/events"),
        api.get("/orders"),
        post(api, f"{order}/deliver"),
    ):
        assert response.status_code in (200, 409)
        assert "ETag" not in response


def test_a_question_whose_answer_the_caller_has_is_304(api: Client, order: str) -> None:
    follow_the_log()
    fresh = api.get(order, headers={"If-None-Match": '"1"'})
    assert (fresh.status_code, fresh.content, fresh["ETag"]) == (304, b"", '"1"')
    assert "Content-Length" not in fresh, "it would say that the answer is empty"
    ship(api, order, '"1"')
    follow_the_log()
    assert api.get(order, headers={"If-None-Match": '"1"'}).json()["status"] == "shipped"
    assert api.get(order, headers={"If-None-Match": "nonsense"}).status_code == 200


class Ordered:
    version = 3


@example("\n")  # the end of a line is not the end of the text: it was looked at for ever
@given(st.text(alphabet='"W/*,3 \t\x80a', max_size=40) | st.text(max_size=40))
def test_no_header_at_all_is_an_accident(text: str) -> None:
    class Request:
        headers = {"If-Match": text}

    try:
        precondition(Request())(Ordered())  # type: ignore[arg-type]
    except (InvalidPreconditionError, PreconditionFailedError):
        return
    assert text.strip() == "*" or '"3"' in text
