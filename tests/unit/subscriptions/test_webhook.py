"""The webhook posts what it may, drops the rest, and never keeps the worker waiting."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventsource_app.subscriptions import (
    ConfigurationError,
    ErrorCategory,
    ErrorClassification,
    ErrorInfo,
    ErrorSeverity,
)
from eventsource_app.subscriptions.callbacks import load_callbacks
from eventsource_app.subscriptions.webhook import QUEUE_SIZE, Webhook, WebhookConfig
from settings.env import for_child_process

ROOT = Path(__file__).resolve().parents[3]
HOUSE = "eventsource.webhook"
heard: list[ErrorInfo] = []


def hear(info: ErrorInfo) -> None:
    heard.append(info)


class Receiver:
    """A local server that keeps what is posted, answers ``status`` and can be told to hang."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.methods: list[str] = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook/s3cret"

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.methods.append("POST")
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.may_answer.wait(10)
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self) -> None:
                receiver.methods.append("GET")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def an_error(severity: ErrorSeverity = ErrorSeverity.HIGH) -> ErrorInfo:
    return ErrorInfo(
        subscription_name="orders",
        event_id=UUID(int=1),
        event_type="OrderCreated",
        position=7,
        aggregate_id=UUID(int=2),
        error_type="builtins.ValueError",
        error_message="no such thing",
        retry_count=3,
        classification=ErrorClassification(ErrorCategory.APPLICATION, severity),
        occurred_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def a_webhook(receiver: Receiver, clock: Any = time.monotonic, **changes: Any) -> Webhook:
    return Webhook(WebhookConfig(**{"url": receiver.url, "timeout_seconds": 2, **changes}), clock)


def test_it_posts_the_errors_fields(receiver: Receiver) -> None:
    webhook = a_webhook(receiver)
    webhook(an_error())
    assert webhook.close()
    assert receiver.bodies == [
        {
            "text": "orders: no such thing (OrderCreated at position 7, high)",
            "subscription_name": "orders",
            "event_id": str(UUID(int=1)),
            "event_type": "OrderCreated",
            "position": 7,
            "aggregate_id": str(UUID(int=2)),
            "error_type": "builtins.ValueError",
            "error_message": "no such thing",
            "retry_count": 3,
            "classification": {"severity": "high", "category": "application", "retryable": True},
            "occurred_at": "2026-01-02T00:00:00+00:00",
        }
    ]
    assert webhook.posted_count == 1


@pytest.mark.parametrize(("severity", "posts"), [("low", 0), ("medium", 0), ("high", 1), ("critical", 1)])
def test_only_from_the_least_severity_on(receiver: Receiver, severity: str, posts: int) -> None:
    webhook = a_webhook(receiver, min_severity="high")
    webhook(an_error(ErrorSeverity(severity)))
    webhook.close()
    assert len(receiver.bodies) == posts
    assert webhook.dropped_count == 0


def test_what_was_queued_when_the_process_ends_still_goes_out(receiver: Receiver) -> None:
    code = f"""
import django
django.setup()
from tests.unit.subscriptions.test_webhook import an_error
from eventsource_app.subscriptions.webhook import Webhook, WebhookConfig
Webhook(WebhookConfig(url={receiver.url!r}))(an_error())
"""
    command = [sys.executable, "-c", code]
    subprocess.run(
        command,
        check=True,
        timeout=60,
        cwd=ROOT,
        env=for_child_process(DJANGO_SETTINGS_MODULE="settings.test"),
    )
    assert len(receiver.bodies) == 1


def test_what_is_above_the_rate_is_dropped_counted_and_said_once_a_minute(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    webhook = a_webhook(receiver, clock, max_per_minute=2)
    for _ in range(5):
        webhook(an_error())
    clock.now = 60.0
    webhook(an_error())
    assert webhook.close()
    assert (len(receiver.bodies), webhook.dropped_count) == (3, 3)
    lines = [vars(record) for record in caplog.records if record.name == HOUSE]
    assert [(line["dropped_count"], line["last_reason"]) for line in lines] == [
        (1, "more than 2 a minute"),
        (2, "more than 2 a minute"),
    ]


def test_a_side_that_hangs_costs_the_caller_nothing(receiver: Receiver) -> None:
    receiver.may_answer.clear()
    webhook = a_webhook(receiver, max_per_minute=10_000)
    started = time.monotonic()
    for _ in range(QUEUE_SIZE + 50):
        webhook(an_error())
    assert time.monotonic() - started < 1
    assert webhook.dropped_count >= 49  # one may have left the queue already
    assert not webhook.close(timeout=0.05)


def test_a_post_ends_at_its_timeout(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.may_answer.clear()
    webhook = a_webhook(receiver, timeout_seconds=0.2)
    started = time.monotonic()
    webhook(an_error())
    assert webhook.close(timeout=5)
    assert time.monotonic() - started < 2
    assert (webhook.posted_count, webhook.dropped_count) == (0, 1)


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_no_success_is_a_drop_without_the_urls_secret(
    receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = status
    webhook = a_webhook(receiver)
    webhook(an_error())
    assert webhook.close()
    assert (webhook.posted_count, webhook.dropped_count) == (0, 1)
    assert receiver.methods == ["POST"]
    for _ in range(200):
        if caplog.records:
            break
        time.sleep(0.01)
    [line] = [vars(record) for record in caplog.records if record.name == HOUSE]
    assert (line["host"], str(status) in line["last_reason"]) == ("127.0.0.1", True)
    assert "s3cret" not in str(line)


def test_nobody_listening_is_a_drop_and_the_next_post_goes_on(receiver: Receiver) -> None:
    webhook = a_webhook(receiver)
    receiver.close()
    webhook(an_error())
    webhook(an_error())
    assert webhook.close()
    assert webhook.dropped_count == 2


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "http://",
        "https:///path",
        "host/x",
        "http://h/a b",
        "http://h:99999/",
        "",
        None,
    ],
)
def test_an_address_that_is_no_web_address_is_refused(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="http:// or https://"):
        WebhookConfig(url=url)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TIMEOUT_SECONDS", 0),
        ("TIMEOUT_SECONDS", float("nan")),
        ("TIMEOUT_SECONDS", True),
        ("MAX_PER_MINUTE", 0),
        ("MAX_PER_MINUTE", 1.5),
        ("MIN_SEVERITY", "loud"),
        ("HEADERS", {}),
    ],
)
def test_an_impossible_setting_is_refused_and_named(key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=key):
        WebhookConfig.from_settings({"URL": "https://example.org/x", key: value})


def test_the_urls_secret_is_in_no_repr() -> None:
    config = WebhookConfig(url="https://example.org/s3cret")
    assert "s3cret" not in repr(config)
    assert config.host == "example.org"


def test_a_url_is_required() -> None:
    with pytest.raises(ConfigurationError, match="no URL"):
        WebhookConfig.from_settings({"MAX_PER_MINUTE": 3})


def test_the_settings_name_callbacks_and_a_webhook(settings: Any, receiver: Receiver) -> None:
    settings.EVENTSOURCE = {
        "ERROR_CALLBACKS": [f"{__name__}.hear"],
        "WEBHOOK": {"URL": receiver.url, "MIN_SEVERITY": "medium"},
    }
    error, (mine, webhook) = an_error(), load_callbacks()
    mine(error)
    webhook(error)
    assert isinstance(webhook, Webhook)
    assert webhook.close()
    assert (heard, len(receiver.bodies)) == ([error], 1)


def test_without_settings_there_is_none(settings: Any) -> None:
    settings.EVENTSOURCE = {}
    assert load_callbacks() == []


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["nowhere.at.all"], "cannot be imported"),
        ([f"{__name__}.missing"], "cannot be imported"),
        ([f"{__name__}.HOUSE"], "cannot be called"),
        ("a.path", "a list of dotted paths"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_sentence(settings: Any, paths: Any, words: str) -> None:
    settings.EVENTSOURCE = {"ERROR_CALLBACKS": paths}
    with pytest.raises(ConfigurationError, match=words):
        load_callbacks()
