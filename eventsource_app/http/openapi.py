"""The API's description: every answer that can come, each with an example, added to what ninja finds in the code.

What every operation of a kind may answer is said once, here; a route says only what is its own (``openapi_extra``).
"""

from http import HTTPStatus
from typing import Any, Final

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from eventsource_app.http.api_errors import install_error_handlers
from eventsource_app.http.etag import etag
from eventsource_app.http.idempotency import HEADER, MAX_KEY_LENGTH
from eventsource_app.http.problem import CONTENT_TYPE, DATABASE_AWAY

EVERY: Final = (400, 401, 403, 414, 429, 431, 500, 503)
QUESTION: Final = (422,)
COMMAND: Final = (409, 412, 413, 422)
ABOUT_ONE: Final = (404,)

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "correlation_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "correlation_id": {"type": ["string", "null"]},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldProblem"}},
    },
}
FIELD_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "FieldProblem",
    "required": ["location", "pointer", "detail"],
    "properties": {
        "location": {"enum": ["body", "path", "query", "header"]},
        "pointer": {"type": "string", "description": "a JSON pointer (RFC 6901)"},
        "detail": {"type": "string"},
    },
}

# Of each status: an example's kind, and its sentence.
EXAMPLES: Final[dict[int, tuple[str | None, str]]] = {
    400: (
        "invalid-if-match",
        "If-Match is 'abc': send an ETag as it was given, quotes included, such as \"3\".",
    ),
    401: (None, "Send a token, as in Authorization: Bearer est_…; `manage.py api_token create` makes one."),
    403: ("missing-scope", "token:shop lacks the scope 'orders:write'; use a token that has it."),
    404: (
        "not-found",
        "There is no Order 0190a000-0000-7000-8000-000000000001; check the id, or create it first.",
    ),
    409: ("order-state", "Cannot cancel order in current state"),
    412: (
        "precondition-failed",
        'If-Match asks for "1", but the version is "2"; look at it again and decide anew.',
    ),
    413: (None, "The request's body is larger than this service takes."),
    414: (None, "The request cannot be read: Request Line is too large (4257 > 4094)."),
    422: ("invalid-fields", "/total: Order total must be above zero, not -1."),
    429: ("throttled", "More than 600 requests in 60 s; try again in 3 s."),
    431: (None, "The request cannot be read: Error parsing headers: 'limit request headers fields size'."),
    500: (None, "The service failed to answer; its log has the cause under this correlation id."),
    503: (DATABASE_AWAY, "The database does not answer; try again in a few seconds."),
}
_RETRY_AFTER: Final = {"description": "seconds", "schema": {"type": "integer", "minimum": 1}, "example": 3}
HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "example": 'Bearer realm="api"'}},
    412: {"ETag": {"description": "the version now", "schema": {"type": "string"}, "example": etag(2)}},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}
_ETAG: Final = {"description": "the version", "schema": {"type": "string"}, "example": etag(1)}
COMMAND_HEADERS: Final[dict[str, Any]] = {
    "ETag": _ETAG,
    "Idempotency-Replayed": {"description": "this answer was given before", "schema": {"const": "true"}},
    "Preference-Applied": {"description": "the read model has it", "schema": {"const": "wait"}},
}
COMMAND_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "in": "header",
        "name": HEADER,
        "description": "The same key and request get the first answer again, for 24 hours.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": r"^[!-~]+$"},
        "example": "3d3e6e2a-2c1d-4a57-9d6c-0d2b3f8f6c11",
    },
    {
        "in": "header",
        "name": "If-Match",
        "description": "Carry it out only if the version is this one (or one of these, or any: *).",
        "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'},
        "example": etag(1),
    },
    {
        "in": "header",
        "name": "Prefer",
        "description": "`wait` or `wait=SECONDS`: answer what the read model says, once it has the command.",
        "schema": {"type": "string"},
        "example": "wait=2",
    },
]
SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"session": []}]
SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a token of `manage.py api_token create`"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "a user of the admin; commands need X-CSRFToken too",
    },
}


class DescribedAPI(NinjaAPI):
    """A ``NinjaAPI`` whose description is complete, and that answers the engine's refusals as it is described."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        install_error_handlers(self, {})

    def get_openapi_schema(self, **arguments: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**arguments)
        components = schema["components"]
        components["schemas"] |= {"Problem": PROBLEM, "FieldProblem": FIELD_PROBLEM}
        components["securitySchemes"] = SECURITY_SCHEMES
        for path, methods in schema["paths"].items():
            for method, operation in methods.items():
                _complete(operation, method, path, components["schemas"])
        return schema


def _complete(operation: dict[str, Any], method: str, path: str, schemas: dict[str, Any]) -> None:
    is_command = method == "post"
    statuses = EVERY + (COMMAND if is_command else QUESTION) + (ABOUT_ONE if "{" in path else ())
    answers = {str(status): answer for status, answer in operation["responses"].items()}
    for answer in answers.values():
        _add_example(answer, schemas)
        if is_command:
            answer["headers"] = {**COMMAND_HEADERS, **answer.get("headers", {})}
    operation["responses"] = dict(
        sorted({**answers, **{str(s): _problem(s, path) for s in statuses}}.items())
    )
    operation["security"] = SECURITY
    if is_command:
        operation["parameters"] = [*operation["parameters"], *COMMAND_PARAMETERS]
        _add_example(operation.get("requestBody", {}), schemas)


def _problem(status: int, path: str) -> dict[str, Any]:
    kind, detail = EXAMPLES[status]
    example: dict[str, Any] = {
        "type": f"urn:problem:{kind}" if kind else "about:blank",
        "title": kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path.replace("{order_id}", "0190a000-0000-7000-8000-000000000001"),
        "correlation_id": "0190a000-0000-7000-8000-00000000000c",
    }
    if status == 422:
        example["errors"] = [
            {"location": "body", "pointer": "/total", "detail": detail.removeprefix("/total: ")}
        ]
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    answer = {"description": HTTPStatus(status).phrase, "content": {CONTENT_TYPE: content}}
    return {**answer, "headers": HEADERS[status]} if status in HEADERS else answer


def _add_example(part: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Take the example of the document that the part carries."""
    for content in part.get("content", {}).values():
        document = schemas.get(_reference(content["schema"]).rpartition("/")[2], {})
        if "examples" in document:
            content["example"] = document["examples"][0]


def _reference(schema: dict[str, Any]) -> str:
    """Return the document's reference, also of one that may be left out."""
    parts = [schema, *schema.get("anyOf", [])]
    return next((str(part["$ref"]) for part in parts if "$ref" in part), "")
