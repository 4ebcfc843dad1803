"""A worker's probe port: the truth from before the start on, and nothing but questions."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from eventsource_app.observability.metrics import batch_seconds
from eventsource_app.probes.worker_server import WorkerProbes
from eventsource_app.subscriptions import SubscriptionManager
from tests.scraping import families_of, value_of

Answer = tuple[int, str, bytes]


@pytest.fixture
def port() -> Iterator[int]:
    probes = WorkerProbes(SubscriptionManager(), "127.0.0.1", 0)
    yield probes.port
    probes.close()


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> Answer:
    """Return status, content type (of a 405 the Allow header) and body."""
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Allow" if error.code == 405 else "Content-Type"], error.read()


@pytest.mark.parametrize(("path", "key"), [("/health/ready", "ready"), ("/health/live", "alive")])
def test_before_the_start_it_is_neither_ready_nor_alive(port: int, path: str, key: str) -> None:
    status, content_type, body = ask(port, path)
    document = json.loads(body)
    assert (status, content_type) == (503, "application/json")
    assert (document[key], document["reason"]) == (False, "manager not initialized")
    assert document["timestamp"].endswith("Z")


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_it_listens_on_ipv6_too() -> None:
    probes = WorkerProbes(SubscriptionManager(), "::1", 0)
    try:
        assert ask(probes.port, "/health/live", host="[::1]")[0] == 503
    finally:
        probes.close()


def test_head_has_the_status_and_no_body(port: int) -> None:
    assert ask(port, "/health/live", "HEAD") == (503, "application/json", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_takes_questions_only(port: int, method: str) -> None:
    assert ask(port, "/health/live", method) == (405, "GET, HEAD", b"")


def test_any_other_path_names_those_that_there_are(port: int) -> None:
    status, _, body = ask(port, "/")
    assert status == 404
    assert b"/health/live and /metrics" in body


def test_its_metrics_are_those_of_the_process_by_subscription(port: int) -> None:
    for subscription in ("first", "second"):
        batch_seconds.labels(subscription).observe(0.5)
    status, content_type, body = ask(port, "/metrics?ignored=1")
    assert status == 200
    assert content_type.startswith("application/openmetrics-text")
    families = families_of(body.decode())
    for subscription in ("first", "second"):
        count = value_of(families, "eventsource_batch_duration_seconds_count", subscription=subscription)
        assert count >= 1
    assert "eventsource_database_up" not in families, "what the rows say is told by the web alone"
