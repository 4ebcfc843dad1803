"""The four lines of docs/http.md make an API that answers as it is described, without anything beside them."""

from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from ninja import Router
from ninja.decorators import decorate_view

from eventsource_app.http import callers
from eventsource_app.http.callers import requires
from eventsource_app.http.idempotency import idempotent
from eventsource_app.http.openapi import DescribedAPI
from eventsource_app.http.tokens import create_token

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_api(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_scopes", set())
    router = Router()

    @router.post("/{number}/pay", auth=requires("accounts:write"))
    @decorate_view(idempotent)
    def pay(request: HttpRequest, number: int) -> dict[str, int]:
        return {"number": number}

    api = DescribedAPI(urls_namespace="accounts")
    api.add_router("/accounts", router)
    settings.ROOT_URLCONF = (path("", api.urls),)
    settings.MIDDLEWARE = []


def test_a_command_without_a_body_is_described(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert "401" in answer.json()["paths"]["/accounts/{number}/pay"]["post"]["responses"]


def test_who_sends_no_token_is_told(client: Client) -> None:
    answer = client.post("/accounts/5/pay")
    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_key_that_comes_again_has_its_first_answer(client: Client) -> None:
    token = create_token("shop", ["accounts:write"], None, created_by="test").text
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
    first, second = (client.post("/accounts/5/pay", headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code, first.content) == (200, 200, second.content)
    assert second["Idempotency-Replayed"] == "true"
    assert client.post("/accounts/6/pay", headers=headers).status_code == 422
