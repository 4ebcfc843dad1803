"""Idempotency-Key: a request that is sent again gets its first answer again, and nothing is done twice.

The answer is stored in the transaction of the append, so there is no moment in which one is kept and the other is not.
Event ids (and the id of a new aggregate) follow from the caller and the key: even when the stored answer was pruned, the
same request cannot append twice. A lock that is only tried for makes a second request that comes too early fail at once
instead of waiting; a unique row would make it wait. The rules: docs/http.md.
"""

import json
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from eventsource_app.events.identifiers import derived_id, derived_ids
from eventsource_app.exceptions import EventSourceError
from eventsource_app.http.callers import caller_of
from eventsource_app.observability.metrics import idempotency_replays
from eventsource_app.store.session import Row, execute, fetch_one, log_database
from eventsource_app.subscriptions.pruning import delete_in_chunks, prunable

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEPT_SECONDS: Final = 24 * 3600.0
MAX_KEY_LENGTH: Final = 255
# Headers that belong to the answer; the others are made anew for each request.
KEPT_HEADERS: Final = ("Content-Type", "ETag", "Location")
# Not about what was asked: the same request may well succeed a moment later.
NOT_FINAL_STATUSES: Final = frozenset({401, 403, 408, 413, 429})
NOT_FINAL_KINDS: Final = frozenset({"lost-race", "duplicate-event"})
ATTEMPTS: Final = 6
MAX_DELAY_SECONDS: Final = 0.1

# Two keys of 32 bits: they never meet the append's fence, which has one of 64.
TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock(%s::integer, %s::integer)"
FIND: Final = """
SELECT k.fingerprint, k.status, k.headers::text, k.body,
       EXISTS (SELECT FROM eventsource_app_event WHERE event_id = %s::uuid)
  FROM (SELECT) AS nothing LEFT JOIN eventsource_app_idempotencykey k ON k.id = %s::uuid
"""
STORE: Final = """
INSERT INTO eventsource_app_idempotencykey (id, fingerprint, status, headers, body)
VALUES (%s::uuid, %s::bytea, %s::smallint, %s::jsonb, %s::bytea)
"""

FORGET: Final = """
DELETE FROM eventsource_app_idempotencykey WHERE id IN (
    SELECT id FROM eventsource_app_idempotencykey
     WHERE created_at < clock_timestamp() - make_interval(secs => %s) LIMIT %s)
"""

_KEY: Final = re.compile(r"[\x21-\x7e]+")
View = Callable[..., HttpResponse]


class InvalidKeyError(EventSourceError):
    """The header is there and no key."""

    def __init__(self, length: int) -> None:
        super().__init__(
            f"An {HEADER} has 1 to {MAX_KEY_LENGTH} visible ASCII characters; this one has {length} characters "
            "or others: use a UUID."
        )


class KeyInFlightError(EventSourceError):
    """The first request with this key is still being answered."""

    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__(
            f"A request with this {HEADER} is being answered just now; send it again in a second."
        )


class KeyReusedError(EventSourceError):
    """The key has answered another request."""

    def __init__(self) -> None:
        super().__init__(
            f"This {HEADER} belongs to a request with another method, path, If-Match or body; use a new key."
        )


class KeyForgottenError(EventSourceError):
    """The key was used so long ago that its answer is gone; what it did is still in the log."""

    def __init__(self) -> None:
        super().__init__(
            f"A request with this {HEADER} was carried out earlier and its answer is no longer kept; "
            "look at what it led to, and use a new key for a new request."
        )


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """All that follows from the caller, the key and the request."""

    seed: bytes
    fingerprint: bytes

    @property
    def id(self) -> UUID:
        return derived_id(self.seed, "key", 0)

    @property
    def lock(self) -> tuple[int, int]:
        return int.from_bytes(self.seed[:4], signed=True), int.from_bytes(self.seed[4:8], signed=True)


def idempotent(run: View) -> View:
    """Decorate an operation (with ninja's ``decorate_view``) so that it takes the header. Without it nothing changes."""
    operation: Any = run.__self__  # type: ignore[attr-defined]  # ninja hands over Operation.run

    @wraps(run)
    def answer(request: HttpRequest, **arguments: Any) -> HttpResponse:
        if HEADER not in request.headers:
            return run(request, **arguments)
        try:
            keyed = keyed_request(request, caller_of(operation, request))
            return answer_once(keyed, lambda: run(request, **arguments))
        except Exception as error:
            response: HttpResponse = operation.api.on_exception(request, error)
            return response

    return answer


def keyed_request(request: HttpRequest, caller: str) -> KeyedRequest:
    """Return what follows from the request; raises ``InvalidKeyError``, and Django's errors for a body that is too large."""
    key = request.headers[HEADER]
    if len(key) > MAX_KEY_LENGTH or not _KEY.fullmatch(key):
        raise InvalidKeyError(len(key))
    asked = f"{request.method}\0{request.path}\0{request.headers.get('If-Match', '')}\0".encode()
    return KeyedRequest(
        seed=sha256(f"{caller}\0{key}".encode()).digest(), fingerprint=sha256(asked + request.body).digest()
    )


def answer_once(
    keyed: KeyedRequest, run: Callable[[], HttpResponse], using: str | None = None
) -> HttpResponse:
    """Return the first answer to this request, now or again; raises ``KeyInFlightError``, ``KeyReusedError``, ``KeyForgottenError``.

    A command inside a transaction does not decide again after a lost race, so the whole transaction is tried again.
    """
    using = using or log_database()
    for attempt in range(1, ATTEMPTS + 1):
        with transaction.atomic(using=using):
            response = _answer(using, keyed, run)
            if not is_final(response):
                transaction.set_rollback(True, using=using)
        if attempt == ATTEMPTS or _kind(response) != "lost-race":
            break
        time.sleep(random.uniform(0, MAX_DELAY_SECONDS))  # noqa: S311 - so that rivals part
    return response


def is_final(response: HttpResponse) -> bool:
    """Say whether an answer stands: a success, or a refusal of what was asked."""
    return (
        response.status_code < 500
        and response.status_code not in NOT_FINAL_STATUSES
        and _kind(response) not in NOT_FINAL_KINDS
    )


def _answer(using: str, keyed: KeyedRequest, run: Callable[[], HttpResponse]) -> HttpResponse:
    if not fetch_one(using, TRY_LOCK, keyed.lock)[0]:
        raise KeyInFlightError
    # A statement of its own: its snapshot must be younger than the lock.
    *stored, was_used = fetch_one(using, FIND, (derived_id(keyed.seed, "event", 0), keyed.id))
    if stored[0] is not None:
        return _replay(keyed, tuple(stored))
    if was_used:
        raise KeyForgottenError
    with derived_ids(keyed.seed):
        response = run()
    if is_final(response):
        _store(using, keyed, response)
    return response


def _replay(keyed: KeyedRequest, stored: Row) -> HttpResponse:
    fingerprint, status, headers, body = stored
    if bytes(fingerprint) != keyed.fingerprint:
        raise KeyReusedError
    idempotency_replays.inc()
    return HttpResponse(bytes(body), status=status, headers={**json.loads(headers), REPLAYED: "true"})


def _store(using: str, keyed: KeyedRequest, response: HttpResponse) -> None:
    headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    row = (keyed.id, keyed.fingerprint, response.status_code, json.dumps(headers), response.content)
    execute(using, STORE, row)


def _kind(response: HttpResponse) -> str | None:
    return getattr(response, "kind", None)


@prunable("idempotency keys", KEPT_SECONDS)
def _forget_keys(using: str, seconds: float) -> int:
    return delete_in_chunks(using, FORGET, seconds)
