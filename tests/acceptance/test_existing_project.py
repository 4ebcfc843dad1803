"""In a project that was there before: transactions per request, the log on a database of its own, and a TLS ingress."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from settings.local_postgres import PROJECT
from tests.acceptance.conftest import Gunicorn, Manage
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
EVENTS = "events_of_an_existing_project"
KEY = "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGH"
DESK = """
from django.contrib.auth.models import User
from django.test import Client
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.create_superuser("ada"))
pages = ("/admin/", "/admin/eventsource_app/event/", "/admin/eventsource_app/checkpoint/", "/admin/eventsource_app/deadletter/")
print([client.get(page).status_code for page in pages])
"""
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture
def events_url(database_url: str, database: psycopg.Connection[Any]) -> Iterator[str]:
    """A second, empty database beside the test's own."""
    name = f"{EVENTS}_{urlsplit(database_url).path.strip('/')}"
    database.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    database.execute(f'CREATE DATABASE "{name}"')
    yield urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))
    database.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def run(environment: Mapping[str, str], *command: str) -> str:
    result = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def ask(
    port: int, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    sent = body if body is None or isinstance(body, str) else json.dumps(body)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(
            method, path, sent, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()


def test_a_project_without_the_admin_has_everything_but_the_desk(
    process_environment: dict[str, str], events_url: str
) -> None:
    environment = process_environment | {
        "DATABASE_URL": events_url,
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.no_admin_settings",
    }
    for command in (["check"], ["migrate"], ["run_subscriptions", "--until-caught-up"], ["verify_events"]):
        run(environment, *command)


def test_the_log_and_its_read_models_live_on_an_alias_of_their_own(
    process_environment: dict[str, str], events_url: str, gunicorn: Gunicorn, manage: Manage, port: int
) -> None:
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.existing_project_settings",
        "EVENTS_DATABASE_URL": events_url,
    }
    environment = {**process_environment, **variables}
    run(environment, "migrate", "--database", "events", "--verbosity", "0")
    token = run(environment, "api_token", "create", "existing")
    web = gunicorn(**variables, API_WAIT_SECONDS="3000")
    worker = manage("run_subscriptions", **variables)

    headers = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    placed = [
        ask(
            port,
            "POST",
            "/orders",
            {"customer_id": "ada", "total": "5.00"},
            **headers,
            Idempotency_Key=f"key-{number}",
        )
        for number in (1, 2, 2)
    ]
    receipts = [json.loads(body) for _, _, body in placed]
    assert [status for status, _, _ in placed] == [201, 201, 201], web.text()
    assert receipts[1] == receipts[2]

    order, position = receipts[1]["order_id"], receipts[1]["position"]
    status, _, body = ask(port, "GET", f"/orders/{order}?wait_for={position}", **headers)
    assert (status, json.loads(body)["status"]) == (200, "created"), body + worker.text()
    # Nobody can follow what this request itself has not committed, so it does not wait.
    status, waited, _ = ask(
        port, "POST", f"/orders/{order}/ship", {"tracking_number": "T-1"}, **headers, Prefer="wait"
    )
    assert (status, waited["Preference-Applied"]) == (200, None)
    wait_for(lambda: json.loads(ask(port, "GET", "/health")[2])["status"] == "healthy", what="health")
    assert ask(port, "GET", "/health/ready")[0] == 200
    assert json.loads(run(environment, "subscription_status", "--json"))["live_workers"] == 1
    assert run(environment, "shell", "-v", "0", "-c", DESK).endswith("[200, 200, 200, 200]")
    with psycopg.connect(events_url) as events:
        found = {name for (name,) in events.execute(TABLES)}
        assert events.execute("SELECT count(*) FROM eventsource_app_event").fetchone() == (3,)
    assert {"eventsource_app_event", "projections_ordersummary"} <= found
    assert not {name for name in found if name.startswith(("auth_", "django_session"))}


def test_a_request_that_fails_later_takes_its_event_back(
    process_environment: dict[str, str], events_url: str, database_url: str
) -> None:
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.existing_project_settings",
        "EVENTS_DATABASE_URL": events_url,
    }
    environment = {**process_environment, **variables}
    run(environment, "migrate", "--database", "events", "--verbosity", "0")
    script = """
from django.db import transaction
from orders.commands import PlaceOrder
from orders.services import place_order
place_order(PlaceOrder("kept", "1.00"))
try:
    with transaction.atomic(using="events"):
        place_order(PlaceOrder("taken back", "1.00"))
        raise ValueError
except ValueError:
    pass
from eventsource_app.store import EventStore
print([recorded.event.customer_id for recorded in EventStore().read_all()], EventStore().using)
"""
    assert run(environment, "shell", "-v", "0", "-c", script).endswith("['kept'] events")


def test_the_desk_works_on_the_logs_own_alias(process_environment: dict[str, str], events_url: str) -> None:
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.existing_project_settings",
        "EVENTS_DATABASE_URL": events_url,
    }
    environment = {**process_environment, **variables}
    run(environment, "migrate", "--database", "events", "--verbosity", "0")
    script = """
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from orders.commands import PlaceOrder
from orders.services import place_order
from eventsource_app.models import Checkpoint
order = place_order(PlaceOrder("ada", "1.00")).order_id
row = Checkpoint.objects.create(subscription="orders", position=9)
desk = Client(HTTP_HOST="localhost")
desk.force_login(User.objects.create_superuser("ada"))
prefix = "admin:eventsource_app_"
pages = [reverse("admin:index"), reverse(prefix + "checkpoint_changelist"), reverse(prefix + "deadletter_changelist"),
         reverse(prefix + "event_changelist"), reverse(prefix + "event_changelist") + "?q=nothing",
         reverse(prefix + "event_stream", args=["Order", order])]
statuses = {desk.get(page).status_code for page in pages}
statuses.add(desk.post(reverse(prefix + "checkpoint_verb", args=["pause", "orders"]), {"reason": "x"}).status_code)
row.refresh_from_db()
print(sorted(statuses), row.state, row._state.db, LogEntry.objects.get().object_repr)
"""
    assert run(environment, "shell", "-v", "0", "-c", script).endswith("[200, 302] paused events orders")


def test_behind_an_ingress_that_ends_tls(
    process_environment: dict[str, str], gunicorn: Gunicorn, port: int
) -> None:
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.ingress_settings", "SECRET_KEY": KEY, "ALLOWED_HOSTS": "web.internal",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example", "SECURE_PROXY_SSL_HEADER": "X-Scheme: https",
    }  # fmt: skip
    gunicorn(**variables)

    status, headers, _ = ask(port, "GET", "/orders", Host="web.internal")
    assert (status, headers["Location"]) == (301, "https://web.internal/orders")
    assert (
        ask(port, "GET", "/orders", Host="web.internal", X_Forwarded_Proto="https")[0] == 301
    )  # not the header it was told
    status, headers, _ = ask(port, "GET", "/orders", Host="web.internal", X_Scheme="https")
    assert status == 401
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert ask(port, "GET", "/orders", Host="elsewhere.example", X_Scheme="https")[0] == 400
    for probe in ("/health/live", "/health/ready", "/metrics"):
        assert ask(port, "GET", probe, Host="10.1.2.3:8000")[0] == 200

    assert [_log_in(port, origin) for origin in ("https://shop.example", "https://evil.example")] == [
        200,
        403,
    ]


def _log_in(port: int, origin: str) -> int:
    """Send the admin's form as a browser would that has the page from *origin*; 200 shows it again, for the password is wrong."""
    secure = {"Host": "web.internal", "X_Scheme": "https"}
    _, headers, page = ask(port, "GET", "/admin/login/", **secure)
    cookie = headers["Set-Cookie"].partition(";")[0]
    token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    assert token
    assert "Secure" in headers["Set-Cookie"]
    form = f"csrfmiddlewaretoken={token}&username=ada&password=wrong"
    kind = "application/x-www-form-urlencoded"
    status, _, _ = ask(
        port, "POST", "/admin/login/", form, **secure, Origin=origin, Cookie=cookie, Content_Type=kind
    )
    return status
