"""NUL, which no text in PostgreSQL can have: the desk finds no such page and takes no such value."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.integration import http_api

pytestmark = pytest.mark.django_db
DESK = "/admin/eventsource_app"
PATHS = (
    f"{DESK}/event/stream/O%00/0190a000-0000-7000-8000-000000000001/",
    f"{DESK}/checkpoint/pause/%00/do/",
    f"{DESK}/workerheartbeat/%00/change/",
    "/admin/projections/customersummary/a%00b/change/",
)
VALUES = (
    f"{DESK}/event/?q=%00x",
    f"{DESK}/event/?event_type=%00",
    f"{DESK}/event/?%00=x",
    f"{DESK}/event/correlation/?id=%00",
    f"{DESK}/deadletter/?subscription=%00",
    f"{DESK}/deadletter/?event_type=fine&event_type=%00",
    f"{DESK}/deadletter/?error_type=%00",
    f"{DESK}/deadletter/matching/retry/?subscription=%00",
)


@pytest.fixture
def desk(client: Client) -> Client:
    """A person who may see everything, and whom a traceback would reach as a page."""
    client.force_login(User.objects.create_superuser("ada"))
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("path", PATHS)
def test_an_address_with_nul_is_not_found(desk: Client, path: str) -> None:
    assert desk.get(path).status_code == 404
    assert desk.post(path).status_code == 404


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("address", VALUES)
def test_a_value_with_nul_is_a_bad_request(desk: Client, settings: Any, address: str, debug: bool) -> None:
    settings.DEBUG = debug
    response = desk.get(address)
    assert response.status_code == 400
    assert b"Traceback" not in response.content


@pytest.mark.parametrize("fields", [{"reason": "a\0b"}, {"a\0b": "reason"}])
def test_a_field_with_nul_is_a_bad_request(desk: Client, fields: dict[str, str]) -> None:
    assert desk.post(f"{DESK}/checkpoint/pause/orders/do/", fields).status_code == 400


def test_a_session_cookie_with_nul(client: Client) -> None:
    client.raise_request_exception = False
    client.cookies["sessionid"] = "a\0bcdefghijk"
    assert client.get("/admin/").status_code == 400


def test_the_api_names_the_field_as_before(db: None) -> None:
    response = http_api.client().get("/orders?customer_id=%00")
    assert response.status_code == 422
    assert b"customer_id" in response.content
