"""Bearer tokens: a public prefix that finds the row, and a secret of 256 random bits of which only the SHA-256 is kept.

(A slow hash guards secrets that people choose; nobody can guess this one.) A process believes what it read of a token for
``token_cache_seconds``, and notes the use at most once a minute, so most requests neither read nor write for it.
"""

import hmac
import re
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from eventsource_app.exceptions import EventSourceError
from eventsource_app.http.config import api_config
from eventsource_app.models import ApiToken
from eventsource_app.store.session import execute, fetch_all, log_database
from eventsource_app.subscriptions.pruning import delete_in_chunks, prunable

_TOKEN: Final = re.compile(r"est_([a-z2-7]{10})_([A-Za-z0-9_-]{43})")
_NAME: Final = re.compile(r"[\w .@:/+-]{1,100}")
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
MAX_KNOWN: Final = 10_000
DEFAULT_LIFETIME: Final = timedelta(days=90)

FIND: Final = """
SELECT digest, name, scopes, last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute'
  FROM eventsource_app_apitoken
 WHERE prefix = %s::text AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
"""
# Of several processes that find it old at once, one writes.
NOTE_USE: Final = """
UPDATE eventsource_app_apitoken SET last_used_at = clock_timestamp()
 WHERE prefix = %s::text AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
"""
FORGET: Final = """
DELETE FROM eventsource_app_apitoken WHERE id IN (
    SELECT id FROM eventsource_app_apitoken
     WHERE least(revoked_at, expires_at) < clock_timestamp() - make_interval(secs => %s) LIMIT %s)
"""


class TokenError(EventSourceError, ValueError):
    """A token that cannot be made or found."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and what they may do."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; its text is shown now and never again."""

    text: str
    row: ApiToken


def check_token(name: str, scopes: Collection[str], expires_at: datetime | None) -> None:
    """Raise ``TokenError`` when there can be no such token."""
    if not _NAME.fullmatch(name):
        raise TokenError(f"{name!r} is no name: use 1 to 100 letters, digits, blanks and . @ : / + - _")
    if not scopes:
        raise TokenError(f"A token without a scope could do nothing: give {name!r} at least one.")
    if expires_at is not None and expires_at <= timezone.now():
        raise TokenError(f"{expires_at.isoformat()} has passed: a token must expire in the future.")


def create_token(
    name: str, scopes: Collection[str], expires_at: datetime | None = None, created_by: str = ""
) -> NewToken:
    """Make a token; raises ``TokenError``."""
    check_token(name, scopes, expires_at)
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(10))
    text = f"est_{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiToken.objects.create(
        name=name,
        prefix=prefix,
        digest=_digest(text),
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
        created_by=created_by,
    )
    return NewToken(text, row)


def find_tokens(name_or_prefix: str) -> QuerySet[ApiToken]:
    """Return the tokens of that name, and the one of that prefix."""
    return ApiToken.objects.filter(Q(name=name_or_prefix) | Q(prefix=name_or_prefix.removeprefix("est_")))


def revoke_tokens(tokens: QuerySet[ApiToken], revoked_by: str = "") -> list[ApiToken]:
    """End those of the tokens that were not revoked yet; return them."""
    rows = list(tokens.filter(revoked_at=None))
    ids = [row.pk for row in rows]
    ApiToken.objects.filter(pk__in=ids).update(revoked_at=timezone.now(), revoked_by=revoked_by)
    known.clear()
    return rows


def principal_of(token: str) -> Principal | None:
    """Return whose token this is; None when it is malformed, unknown, expired or revoked."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    digest = _digest(token)
    return known.get(digest) or _look_up(found[1], digest)


class KnownTokens:
    """What this process read of tokens lately, by their digests."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Principal]] = {}
        self._lock = threading.Lock()

    def get(self, digest: str) -> Principal | None:
        until, principal = self._known.get(digest, (0.0, None))
        return principal if time.monotonic() < until else None

    def put(self, digest: str, principal: Principal) -> None:
        with self._lock:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[digest] = (time.monotonic() + api_config().token_cache_seconds, principal)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


known: Final = KnownTokens()


def _look_up(prefix: str, digest: str) -> Principal | None:
    for stored, name, scopes, is_stale in fetch_all(log_database(), FIND, (prefix,)):
        if not hmac.compare_digest(stored, digest):
            return None
        if is_stale:
            execute(log_database(), NOTE_USE, (prefix,))
        principal = Principal(f"token:{name}", frozenset(scopes))
        known.put(digest, principal)
        return principal
    return None


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


@prunable("ended API tokens")
def _forget_ended(using: str, seconds: float) -> int:
    return delete_in_chunks(using, FORGET, seconds)
