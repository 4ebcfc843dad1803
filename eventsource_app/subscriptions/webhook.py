"""An error callback that posts to a webhook: one JSON document per failed attempt, never in the worker's way.

The callback only puts the document in a small queue; one daemon thread posts. What the queue, the rate or the other side
refuses is dropped and counted: an alert is worth less than the work that it is about.
"""

import atexit
import collections
import http.client
import json
import logging
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.errors import ErrorSeverity
from eventsource_app.subscriptions.reporting import ErrorInfo

QUEUE_SIZE: Final = 100
MINUTE: Final = 60.0
KEYS: Final = ("URL", "TIMEOUT_SECONDS", "MAX_PER_MINUTE", "MIN_SEVERITY")

logger = logging.getLogger("eventsource.webhook")


@dataclass(frozen=True, kw_only=True)
class WebhookConfig:
    """``EVENTSOURCE["WEBHOOK"]``. The URL may hold a secret, so it is never shown; raises ``ConfigurationError``."""

    url: str = field(repr=False)
    timeout_seconds: float = 5
    max_per_minute: int = 30
    min_severity: ErrorSeverity = ErrorSeverity.HIGH

    @classmethod
    def from_settings(cls, given: Mapping[str, Any]) -> Self:
        """Read the setting's keys: URL, TIMEOUT_SECONDS, MAX_PER_MINUTE, MIN_SEVERITY."""
        unknown = sorted(set(given) - set(KEYS))
        if unknown:
            raise ConfigurationError(
                f"EVENTSOURCE['WEBHOOK'] has unknown keys {unknown}; use {', '.join(KEYS)}."
            )
        if "URL" not in given:
            raise ConfigurationError("EVENTSOURCE['WEBHOOK'] has no URL; name the address to post to.")
        return cls(**{key.lower(): value for key, value in given.items()})

    def __post_init__(self) -> None:
        if not _is_web_address(self.url):
            raise ConfigurationError(
                "The webhook's URL is no http:// or https:// address with a host; correct it."
            )
        if not (_is_number(self.timeout_seconds) and 0 < self.timeout_seconds <= MINUTE):
            raise ConfigurationError(
                f"The webhook's TIMEOUT_SECONDS={self.timeout_seconds!r} cannot be: use more than 0 and at most 60."
            )
        if not _is_count(self.max_per_minute):
            raise ConfigurationError(
                f"The webhook's MAX_PER_MINUTE={self.max_per_minute!r} cannot be: use a whole number from 1."
            )
        try:
            object.__setattr__(self, "min_severity", ErrorSeverity(self.min_severity))
        except ValueError:
            words = ", ".join(severity.value for severity in ErrorSeverity)
            raise ConfigurationError(
                f"The webhook's MIN_SEVERITY={self.min_severity!r} cannot be: use one of {words}."
            ) from None

    @property
    def host(self) -> str:
        """What may be shown of the URL."""
        return urlsplit(self.url).hostname or ""


class Webhook:
    """The callback: call it with an ``ErrorInfo``; it returns at once."""

    def __init__(self, config: WebhookConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._queue: queue.Queue[bytes] = queue.Queue(QUEUE_SIZE)
        self._lock = threading.Lock()
        self._accepted_at: collections.deque[float] = collections.deque()
        self._thread: threading.Thread | None = None
        self._unlogged_drops = 0
        self._drop_reason = ""
        self._next_drop_log = float("-inf")
        self.dropped_count = 0
        self.posted_count = 0

    def __call__(self, info: ErrorInfo) -> None:
        """Queue one post, unless the error is below the least severity or the rate's limit is reached."""
        if info.classification.severity < self._config.min_severity:
            return
        with self._lock:
            self._start()
            if not self._has_room():
                self._drop(f"more than {self._config.max_per_minute} a minute")
            else:
                self._put(json.dumps(document(info)).encode())
        self.log_drops()

    def close(self, timeout: float | None = None) -> bool:
        """Wait, at most ``timeout`` seconds (the post's own by default), until the queue is empty; say whether it is."""
        limit = self._config.timeout_seconds if timeout is None else timeout
        deadline = time.monotonic() + limit
        while self._queue.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._queue.unfinished_tasks

    def log_drops(self) -> None:
        """Say how many were dropped since it was last said, at most once a minute."""
        with self._lock:
            now = self._clock()
            if not self._unlogged_drops or now < self._next_drop_log:
                return
            about = {"dropped_count": self._unlogged_drops, "last_reason": self._drop_reason}
            self._unlogged_drops, self._next_drop_log = 0, now + MINUTE
        logger.warning("Webhook posts dropped", extra={"host": self._config.host, **about})

    def _has_room(self) -> bool:
        now = self._clock()
        while self._accepted_at and self._accepted_at[0] <= now - MINUTE:
            self._accepted_at.popleft()
        return len(self._accepted_at) < self._config.max_per_minute

    def _put(self, body: bytes) -> None:
        try:
            self._queue.put_nowait(body)
        except queue.Full:
            self._drop(f"{QUEUE_SIZE} wait already")
        else:
            self._accepted_at.append(self._clock())

    def _drop(self, reason: str) -> None:
        self._drop_reason = reason
        self.dropped_count += 1
        self._unlogged_drops += 1

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="eventsource-webhook", daemon=True)
            self._thread.start()
            atexit.register(self.close)  # what was queued just before a stop still goes out

    def _run(self) -> None:
        while True:
            try:
                body = self._queue.get(timeout=MINUTE)
            except queue.Empty:
                self.log_drops()
                continue
            try:
                self._post(body)
            except Exception:
                logger.exception("Webhook failed by an error of its own; it goes on")
            finally:
                self._queue.task_done()
            self.log_drops()

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "eventsource-app"}
        request = urllib.request.Request(self._config.url, body, headers, method="POST")  # noqa: S310 - checked above
        try:
            self._opener.open(request, timeout=self._config.timeout_seconds).close()
        except (OSError, http.client.HTTPException) as error:  # HTTPError and URLError are OSErrors
            with self._lock:
                self._drop(str(error))
        else:
            self.posted_count += 1


def document(info: ErrorInfo) -> dict[str, Any]:
    """Return what is posted: the fields of ``ErrorInfo``, and one sentence for people as ``text``."""
    what = f"{info.event_type} at position {info.position}" if info.event_type else "no single event"
    return {
        "text": f"{info.subscription_name}: {info.error_message} ({what}, {info.classification.severity.value})",
        "subscription_name": info.subscription_name,
        "event_id": str(info.event_id) if info.event_id else None,
        "event_type": info.event_type,
        "position": info.position,
        "aggregate_id": str(info.aggregate_id) if info.aggregate_id else None,
        "error_type": info.error_type,
        "error_message": info.error_message,
        "retry_count": info.retry_count,
        "classification": {
            "severity": info.classification.severity.value,
            "category": info.classification.category.value,
            "retryable": info.classification.retryable,
        },
        "occurred_at": info.occurred_at.isoformat(),
    }


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET elsewhere: it counts as a failure."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _is_web_address(url: object) -> bool:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
