"""The API's own way answers for a database that is away, also where a request is a transaction."""

import json
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from eventsource_app.http.shortcut import ApiShortcutMiddleware

# It looks like one, so the database is asked: refusing another may need no question while a lease of the throttle lasts.
TOKEN = f"Bearer est_{'a' * 10}_{'a' * 43}"


def _nothing_else(request: HttpRequest) -> HttpResponse:
    raise AssertionError(request.path)


@pytest.mark.parametrize("atomic", [False, True])
def test_no_connection_is_503(monkeypatch: pytest.MonkeyPatch, atomic: bool) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("connection refused")

    connection = connections["default"]
    monkeypatch.setattr(connection, "connection", None)
    monkeypatch.setattr(connection, "ensure_connection", refuse)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
    middleware = ApiShortcutMiddleware(_nothing_else)

    for _ in range(2):  # the one that found out, and the next
        response = middleware(RequestFactory().get("/orders", headers={"Authorization": TOKEN}))
        assert response.status_code == 503
        assert json.loads(response.content)["type"] == "urn:problem:database-away"
        assert response["Retry-After"]
