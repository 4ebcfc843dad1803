"""Exceptions to problem documents, for a ``NinjaAPI``; the domain says which status its own errors have."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from psycopg.errors import ReadOnlySqlTransaction

from eventsource_app.aggregates import AggregateNotFoundError
from eventsource_app.events import InvalidEventError
from eventsource_app.exceptions import EventSourceError
from eventsource_app.http.callers import CsrfFailedError, MissingScopeError, UnauthenticatedError
from eventsource_app.http.etag import InvalidPreconditionError, PreconditionFailedError
from eventsource_app.http.idempotency import (
    InvalidKeyError,
    KeyForgottenError,
    KeyInFlightError,
    KeyReusedError,
)
from eventsource_app.http.problem import DATABASE_AWAY, FieldProblem, pointer, problem
from eventsource_app.http.throttles import ThrottledError
from eventsource_app.http.wait_for import (
    AheadOfLogError,
    NotReachedError,
    ParkedError,
    TooManyWaitingError,
)
from eventsource_app.store import DuplicateEventError, WrongExpectedVersionError

Error = TypeVar("Error", bound=Exception)
logger = logging.getLogger("eventsource.http")
# So many invalid fields are named. An enemy's body has a hundred thousand, and its answer is kept for its Idempotency-Key.
MOST_FIELDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Answer:
    """How an exception is answered: the status, the sort of problem, and whether its own sentence may be shown."""

    status: int
    kind: str | None = None
    shows_message: bool = True


_ENGINE: dict[type[Exception], Answer] = {
    AggregateNotFoundError: Answer(404, "not-found"),
    WrongExpectedVersionError: Answer(409, "lost-race"),
    DuplicateEventError: Answer(409, "duplicate-event"),
    InvalidEventError: Answer(422, "invalid-event"),
    UnauthenticatedError: Answer(401),
    MissingScopeError: Answer(403, "missing-scope"),
    CsrfFailedError: Answer(403, "csrf-failed"),
    ThrottledError: Answer(429, "throttled"),
    AheadOfLogError: Answer(422, "position-ahead-of-log"),
    NotReachedError: Answer(503, "read-model-behind"),
    ParkedError: Answer(503, "aggregate-parked"),
    TooManyWaitingError: Answer(503, "too-many-waiting"),
    PreconditionFailedError: Answer(412, "precondition-failed"),
    InvalidPreconditionError: Answer(400, "invalid-if-match"),
    InvalidKeyError: Answer(400, "invalid-idempotency-key"),
    KeyInFlightError: Answer(409, "idempotency-key-in-flight"),
    KeyForgottenError: Answer(409, "idempotency-key-forgotten"),
    KeyReusedError: Answer(422, "idempotency-key-reused"),
    OperationalError: Answer(503, DATABASE_AWAY, shows_message=False),
    InterfaceError: Answer(503, DATABASE_AWAY, shows_message=False),
    RequestDataTooBig: Answer(413, shows_message=False),
    SuspiciousOperation: Answer(400, shows_message=False),
    UnreadablePostError: Answer(400, shows_message=False),
    BadRequest: Answer(400, shows_message=False),
    PermissionDenied: Answer(403, shows_message=False),
    Http404: Answer(404, shows_message=False),
}


# What an error may know and the answer should say.
_HEADERS = {"Retry-After": "retry_after_seconds", "WWW-Authenticate": "challenge", "ETag": "etag"}


def install_error_handlers(api: NinjaAPI, domain: Mapping[type[Exception], Answer]) -> None:
    """Make ``api`` answer every exception with a problem document; ``domain`` adds the errors of its own."""
    for error_class, answer in {**_ENGINE, **domain}.items():
        _handle(api, error_class, _handler(answer))
    _handle(api, ValidationError, _invalid_fields)
    _handle(api, HttpError, _http_error)
    _handle(api, InternalError, _internal)
    _handle(api, Exception, _unexpected)


def answer_engine_error(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """Answer the engine's own errors and the database's, for any view; None for what is not theirs."""
    answer = _engine_answer(error)
    return None if answer is None else _handler(answer)(request, error)


def _engine_answer(error: Exception) -> Answer | None:
    if isinstance(error.__cause__, ReadOnlySqlTransaction):
        return _ENGINE[
            OperationalError
        ]  # a standby (during a failover), or closed for writing: as good as away
    if not isinstance(error, EventSourceError | OperationalError | InterfaceError):
        return None
    return next((_ENGINE[each] for each in type(error).__mro__ if each in _ENGINE), None)


def _handler(answer: Answer) -> Callable[[HttpRequest, Exception], HttpResponse]:
    def handle(request: HttpRequest, error: Exception) -> HttpResponse:
        if answer.kind == DATABASE_AWAY:
            logger.warning("Database away", extra={"error_type": type(error).__name__, "path": request.path})
        detail = str(error) if answer.shows_message else None
        response = problem(request, answer.status, detail, kind=answer.kind, errors=_named_field(error))
        for header, attribute in _HEADERS.items():
            if (value := getattr(error, attribute, None)) is not None:
                response[header] = str(value)
        return response

    return handle


def _handle(
    api: NinjaAPI, error_class: type[Error], handler: Callable[[HttpRequest, Error], HttpResponse]
) -> None:
    """Install a handler; ninja's own annotation also admits the bare class, which it never passes."""
    api.add_exception_handler(error_class, cast("Any", handler))


def _named_field(error: Exception) -> list[FieldProblem] | None:
    """Name the field when the domain's error does (attributes ``field`` and, unless it is the body, ``location``)."""
    field = getattr(error, "field", None)
    if not isinstance(field, str):
        return None
    return [
        {"location": getattr(error, "location", "body"), "pointer": pointer([field]), "detail": str(error)}
    ]


def _invalid_fields(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields = [_field_problem(each) for each in error.errors[:MOST_FIELDS]]
    detail = "; ".join(f"{field['pointer'] or 'the body'}: {field['detail']}" for field in fields[:3])
    return problem(request, 422, detail, kind="invalid-fields", errors=fields)


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    location, *path = error["loc"]
    # Ninja puts the view's parameter name before the fields of a JSON body.
    inside = path[1:] if location == "body" else path
    return {"location": str(location), "pointer": pointer(_visible(inside)), "detail": _sentence(error)}


def _visible(path: Sequence[object]) -> list[object]:
    """Drop the names of validators and union members that pydantic puts into the path (``function-before[…]``)."""
    return [part for part in path if not (isinstance(part, str) and "[" in part)]


def _sentence(error: Mapping[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    detail = "The request's body is not readable JSON." if error.status_code == 400 else str(error)
    return problem(request, error.status_code, detail)


def _internal(request: HttpRequest, error: InternalError) -> HttpResponse:
    return answer_engine_error(request, error) or _unexpected(request, error)


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("Unexpected error", exc_info=error, extra={"path": request.path, "method": request.method})
    return problem(request, 500)
