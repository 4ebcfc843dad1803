"""A request's trace, as a collector gets it from real gunicorn and worker processes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from urllib.request import Request, urlopen

import pytest

from eventsource_app.http.tokens import create_token
from settings.local_postgres import PROJECT
from tests.acceptance.conftest import Gunicorn, Manage
from tests.acceptance.processes import Process
from tests.collector import Collected, Span, collecting_grpc, collecting_http
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance]
Collecting = Callable[[], AbstractContextManager[Collected]]
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "200"}  # OpenTelemetry's own variable: milliseconds between two exports

LOADED = """
import django.test, sys, settings.wsgi
assert django.test.Client().get("/health/live").status_code == 200
import eventsource_app.management.commands.run_subscriptions, orders.services
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "grpc")))
"""


@pytest.fixture(params=[collecting_http, collecting_grpc], ids=["http", "grpc"])
def collected(request: pytest.FixtureRequest) -> Iterator[Collected]:
    with request.param() as collected:
        yield collected


def ask(port: int, path: str, **body: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {create_token('test', ('orders:write',)).text}"}
    request = Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {**headers, "Content-Type": "application/json"},
    )
    with urlopen(request, timeout=60) as answer:  # noqa: S310
        return dict(json.load(answer))


def in_trace(spans: list[Span], trace_id: str) -> list[Span]:
    return [span for span in spans if span.trace_id == trace_id]


def ancestors(span: Span, spans: list[Span]) -> list[Span]:
    by_id = {each.span_id: each for each in spans}
    found = []
    while span.parent_id:
        span = by_id[span.parent_id]
        found.append(span)
    return found


def test_one_trace_leads_from_the_request_to_the_append_and_the_projections_link_to_it(
    collected: Collected, gunicorn: Gunicorn, manage: Manage, port: int
) -> None:
    given = {"OTLP_ENDPOINT": collected.endpoint, "WEB_CONCURRENCY": "2", "SERVICE_NAME": "shop", **SOON}
    web = gunicorn(**given)
    worker = manage("run_subscriptions", **given)
    order = ask(port, "/orders", customer_id="ada", total="10.00")
    shipped = ask(port, f"/orders/{order['order_id']}/ship", tracking_number="T-1")
    assert shipped["status"] == "shipped"

    wait_for(lambda: len(collected.named("eventsource.append")) >= 2, what="the appends' spans")
    # Two workers export on their own, so the order of arrival says nothing.
    first, second = sorted(
        collected.named("eventsource.append"), key=lambda span: str(span.attributes["event.type"])
    )
    assert first.attributes == {
        "db.system": "postgresql",
        "db.operation": "insert",
        "aggregate.id": order["order_id"],
        "aggregate.type": "Order",
        "event.id": first.attributes["event.id"],
        "event.type": "OrderCreated",
    }
    for append, verb in ((first, "POST orders"), (second, "POST orders/<order_id>/ship")):
        wait_for(partial(_request_of, append, collected), what="the request's span")
        request = _request_of(append, collected)
        assert request is not None
        assert request.name == verb
        assert request.attributes["http.route"] == verb.removeprefix("POST ")
        assert request.service == "shop"
        assert "eventsource.aggregate.save" in [span.name for span in ancestors(append, collected.spans)]
    loads = in_trace(collected.named("eventsource.aggregate.load"), second.trace_id)
    reads = in_trace(collected.named("eventsource.read_stream"), second.trace_id)
    assert loads
    assert {read.attributes["db.operation"] for read in reads} == {"select"}

    for append in (first, second):
        request = _request_of(append, collected)
        assert request is not None
        link = (append.trace_id, request.span_id)
        wait_for(partial(_is_handled, link, collected, worker), what="the projection's span")
        (handled,) = _handled(link, collected)
        assert handled.trace_id != append.trace_id
        assert handled.attributes["subscription.state"] == "running"

    (line,) = web.wait_for_log("POST /orders 201")
    assert line["trace_id"] == first.trace_id


def test_workers_of_a_preloaded_application_export_too(
    collected: Collected, gunicorn: Gunicorn, port: int
) -> None:
    gunicorn("--preload", OTLP_ENDPOINT=collected.endpoint, WEB_CONCURRENCY="2", **SOON)
    orders = {ask(port, "/orders", customer_id="ada", total="10.00")["order_id"] for _ in range(8)}

    def exported() -> set[object]:
        return {span.attributes["aggregate.id"] for span in collected.named("eventsource.append")}

    wait_for(lambda: exported() == orders, what="a span of each append")


def test_traced_pods_are_probed_by_their_ip_as_others_are(gunicorn: Gunicorn, port: int) -> None:
    gunicorn(OTLP_ENDPOINT="127.0.0.1:1", WEB_CONCURRENCY="1", ALLOWED_HOSTS="127.0.0.1")

    for path in ("/health/live", "/health/ready", "/metrics"):
        request = Request(f"http://127.0.0.1:{port}{path}", headers={"Host": f"10.2.3.4:{port}"})
        with urlopen(request, timeout=20) as answer:  # noqa: S310
            assert answer.status == 200


def _handled(link: tuple[str, str], collected: Collected) -> list[Span]:
    """The spans of the orders' read model that link to that request."""
    handled = collected.named("eventsource.handle")
    return [s for s in handled if s.attributes["subscription.name"] == "orders" and link in s.links]


def _is_handled(link: tuple[str, str], collected: Collected, worker: Process) -> bool:
    assert worker.running, worker.text()
    return bool(_handled(link, collected))


def _request_of(append: Span, collected: Collected) -> Span | None:
    try:
        return ancestors(append, collected.spans)[-1]
    except KeyError:  # not exported yet
        return None


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported(
    process_environment: dict[str, str],
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={**process_environment, "OTLP_ENDPOINT": ""},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "[]\n"
