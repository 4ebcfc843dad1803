"""The probes' statuses and bodies, with reports made by hand instead of a database."""

import json
import logging
from typing import Any

import pytest
from django.core.exceptions import DisallowedHost
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from eventsource_app.probes import checks
from eventsource_app.probes.middleware import ProbeMiddleware
from eventsource_app.subscriptions.health import HealthReport, HealthStatus, ReadinessReport

SECRET = 'connection to server at "db.internal" failed: password authentication failed for user "app"'


def raising(error: Exception) -> Any:
    def question(*_: Any) -> None:
        raise error

    return question


def answering(report: Any) -> Any:
    return lambda *_: report


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "health_check")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (HealthStatus.HEALTHY, 200),
        (HealthStatus.DEGRADED, 200),
        (HealthStatus.UNHEALTHY, 503),
        (HealthStatus.CRITICAL, 503),
    ],
)
def test_health_answers_200_or_503(
    client: Client, monkeypatch: pytest.MonkeyPatch, status: HealthStatus, code: int
) -> None:
    monkeypatch.setattr(checks, "health_report", answering(HealthReport(status=status, running=True)))
    response = client.get("/health", headers={"accept": "*/*"})
    assert (response.status_code, response.headers["Content-Type"]) == (code, "application/json")
    assert response.json()["status"] == status.value


@pytest.mark.parametrize(
    ("path", "question"), [("/health", "health_report"), ("/health/ready", "readiness_report")]
)
def test_a_database_that_is_away_is_503_and_its_words_stay_inside(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, question: str
) -> None:
    monkeypatch.setattr(checks, question, raising(OperationalError(SECRET)))
    response = client.get(path)
    assert response.status_code == 503
    assert response.json()["reason"] == "the database does not answer (OperationalError)"
    assert "db.internal" not in response.content.decode()


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_a_broken_check_is_503_and_says_no_more_than_that(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for question in ("health_report", "readiness_report"):
        monkeypatch.setattr(checks, question, raising(ValueError("internals")))
    response = client.get(path)
    assert response.status_code == 503
    assert "internals" not in response.content.decode()


def test_ready_shows_its_document(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ReadinessReport(
        ready=False, reason="1 migrations are not applied", details={"migrations": ["a.0001"]}
    )
    monkeypatch.setattr(checks, "readiness_report", answering(report))
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json().keys() == {"ready", "reason", "details", "timestamp"}


def test_a_process_that_shuts_down_is_not_ready_and_still_alive(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "is_stopping", lambda: True)
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["reason"]) == (503, "shutting down")
    assert client.get("/health/live").status_code == 200


def test_live_asks_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ask", raising(AssertionError("touched the database")))
    response = client.get("/health/live")
    assert response.status_code == 200
    assert response.json().keys() == {"alive", "timestamp"}


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live"])
def test_only_get_and_head(client: Client, path: str) -> None:
    for method in ("post", "put", "patch", "delete", "options"):
        assert getattr(client, method)(path).status_code == 405


def test_head_has_no_body(client: Client) -> None:
    response = client.head("/health/live")
    assert (response.status_code, response.content) == (200, b"")


def test_probes_are_never_cached(client: Client) -> None:
    assert "no-store" in client.get("/health/live").headers["Cache-Control"]


def _strict(request: HttpRequest) -> HttpResponse:
    request.get_host()
    return HttpResponse("the rest of the stack", status=404)


def test_the_middleware_answers_a_pod_addressed_by_its_ip(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["orders.example.com"]
    request = RequestFactory().get("/health/live", headers={"host": "10.1.2.3:8000"})
    response = ProbeMiddleware(_strict)(request)
    assert response.status_code == 200
    assert json.loads(response.content)["alive"] is True


@pytest.mark.parametrize("path", ["/orders", "/healthy", "/health/else"])
def test_the_middleware_leaves_everything_else_to_the_stack(settings: Any, path: str) -> None:
    settings.ALLOWED_HOSTS = ["orders.example.com"]
    request = RequestFactory().get(path, headers={"host": "10.1.2.3:8000"})
    with pytest.raises(DisallowedHost):
        ProbeMiddleware(_strict)(request)
