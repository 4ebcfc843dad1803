"""Problem details (RFC 9457): the one shape of every error that the HTTP side answers."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, TypedDict

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path

from eventsource_app.observability.correlation import current_correlation_id

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
DATABASE_AWAY = "database-away"

_DETAILS = {
    400: "The request cannot be read.",
    401: "The request carries no valid credentials.",
    403: "These credentials do not allow this request.",
    404: "There is nothing at {path}.",
    405: "{method} is not possible at {path}.",
    413: "The request's body is larger than this service takes.",
    500: "The service failed to answer; its log has the cause under this correlation id.",
    503: "The database does not answer; try again in a few seconds.",
}


class ProblemResponse(HttpResponse):
    """The answer with a problem document; ``kind`` tells sorts of the same status apart."""

    kind: str | None = None


class FieldProblem(TypedDict):
    """One invalid field: where it was (``body``, ``path``, ``query``, ``header``), its JSON pointer, and why."""

    location: str
    pointer: str
    detail: str


def problem(
    request: HttpRequest,
    status: int,
    detail: str | None = None,
    *,
    kind: str | None = None,
    errors: Sequence[FieldProblem] | None = None,
) -> ProblemResponse:
    """Return a problem document.

    ``kind`` names the sort of problem where the status alone does not (``urn:problem:<kind>``);
    without it the type is ``about:blank`` and the title the status's own phrase, as the RFC has it.
    """
    document: dict[str, Any] = {
        "type": f"urn:problem:{kind}" if kind else "about:blank",
        "title": kind.replace("-", " ").capitalize() if kind else _phrase(status),
        "status": status,
        "detail": detail or _default_detail(request, status),
        "instance": escape_uri_path(request.path),
        "correlation_id": current_correlation_id(),
    }
    if errors is not None:
        document["errors"] = list(errors)
    response = ProblemResponse(json.dumps(document), status=status, content_type=CONTENT_TYPE)
    response.kind = kind
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def pointer(path: Sequence[object]) -> str:
    """Return the JSON pointer (RFC 6901) to ``path``: ``("lines", 0, "a/b")`` is ``/lines/0/a~1b``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _default_detail(request: HttpRequest, status: int) -> str:
    template = _DETAILS.get(status)
    if template is None:
        return f"{_phrase(status)}."
    return template.format(method=request.method, path=escape_uri_path(request.path))
