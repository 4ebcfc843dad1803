"""Who calls, and may they: bearer tokens, sessions of the admin's users, scopes, throttles.

``requires("orders:read")`` is given to a ninja operation as its ``auth``; everything it refuses is an exception that the
API answers with a problem document.
"""

from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer
from ninja.utils import check_csrf

from eventsource_app.exceptions import EventSourceError
from eventsource_app.http.config import api_config
from eventsource_app.http.throttles import throttle
from eventsource_app.http.tokens import Principal, principal_of
from eventsource_app.observability.correlation import act_as

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
ANONYMOUS: Final = "anonymous"

_scopes: set[str] = set()


class UnauthenticatedError(EventSourceError):
    """No credentials, or none that are valid; ``challenge`` is what WWW-Authenticate says."""

    def __init__(self, sentence: str, error: str = "") -> None:
        super().__init__(sentence)
        self.challenge = 'Bearer realm="api"' + (error and f', error="{error}"')


class MissingScopeError(EventSourceError):
    """The caller is known and may not do this."""

    def __init__(self, principal: Principal, scope: str) -> None:
        super().__init__(
            f"{principal.name} lacks the scope {scope!r}; use a token that has it, or have one made "
            f"with `manage.py api_token create NAME --scope {scope}`."
        )
        self.challenge = f'Bearer realm="api", error="insufficient_scope", scope="{scope}"'


class CsrfFailedError(EventSourceError):
    """A session's command that did not come from one of our own pages."""

    def __init__(self) -> None:
        super().__init__(
            "A command with a session needs the CSRF token too: send it in X-CSRFToken, or use a bearer token."
        )


class BearerToken(HttpBearer):
    """The ``auth`` of an operation that needs a scope. Asked twice about one request, it answers from the request."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Principal:
        principal: Principal | None = getattr(request, "principal", None)
        if principal is None:
            principal = request.principal = self._admit(request)  # type: ignore[attr-defined]
        return principal

    def authenticate(self, request: HttpRequest, token: str) -> Principal | None:
        return principal_of(token)

    def _admit(self, request: HttpRequest) -> Principal:
        principal = identify(request)
        if principal is None:  # nobody need say who they are
            throttle(f"address:{address_of(request)}", api_config().throttle)
            return Principal(ANONYMOUS, frozenset({self.scope}))
        if self.scope not in principal.scopes:
            raise MissingScopeError(principal, self.scope)
        throttle(principal.name, api_config().throttle)
        act_as(principal.name)
        return principal


def requires(scope: str) -> BearerToken:
    """Return the ``auth`` of an operation that needs a scope, such as ``orders:read``."""
    _scopes.add(scope)
    return BearerToken(scope)


def known_scopes() -> tuple[str, ...]:
    """Return every scope that some operation of this project needs."""
    import_module(settings.ROOT_URLCONF)
    return tuple(sorted(_scopes))


def caller_of(operation: Any, request: HttpRequest) -> str:
    """Return the name under which this caller's keys are kept; raises what the operation's ``auth`` raises."""
    names = [auth(request).name for auth in operation.auth_callbacks]
    return names[0] if names else ANONYMOUS


def identify(request: HttpRequest) -> Principal | None:
    """Return who calls; None for nobody, where nobody need say. Raises ``UnauthenticatedError``, ``ThrottledError``."""
    header = request.headers.get("Authorization")
    if header is not None:
        return _bearer(header) or refuse(
            request, "This token is not valid, or not any more.", "invalid_token"
        )
    principal = _session_user(request)
    if principal is not None or not api_config().authentication_required:
        return principal
    return refuse(
        request, "Send a token, as in Authorization: Bearer est_…; `manage.py api_token create` makes one."
    )


def refuse(request: HttpRequest, sentence: str, error: str = "") -> Principal:
    """Count the failure against its address, and raise ``UnauthenticatedError`` (or ``ThrottledError``)."""
    throttle(f"failures:{address_of(request)}", api_config().failure_throttle)
    raise UnauthenticatedError(sentence, error)


def address_of(request: HttpRequest) -> str:
    """Return the caller's address: the one that the outermost trusted proxy saw."""
    count = api_config().trusted_proxy_count
    seen = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",") if each.strip()]
    if count and len(seen) >= count:
        return seen[-count]
    return str(request.META.get("REMOTE_ADDR") or "unknown")


def _bearer(header: str) -> Principal | None:
    scheme, _, token = header.partition(" ")
    return principal_of(token.strip()) if scheme.lower() == "bearer" else None


def _session_user(request: HttpRequest) -> Principal | None:
    """Return the logged-in user of the admin; raises ``CsrfFailedError``. The session is read here, and only when there is one."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if key is None or "\0" in key:  # no session has such a key, and the database takes no such text
        return None
    user = _user(request)
    if not (user.is_authenticated and user.is_active and user.is_staff):
        return None
    if request.method not in SAFE_METHODS and check_csrf(request) is not None:
        raise CsrfFailedError
    verbs = {verb for verb in ("read", "write") if user.has_perm(f"eventsource_app.{verb}_api")}
    return Principal(f"user:{user.pk}", frozenset(s for s in _scopes if s.rpartition(":")[2] in verbs))


def _user(request: HttpRequest) -> Any:
    from django.contrib.auth import get_user

    if not hasattr(request, "session"):
        engine = import_module(settings.SESSION_ENGINE)
        request.session = engine.SessionStore(request.COOKIES[settings.SESSION_COOKIE_NAME])
    return get_user(request)
