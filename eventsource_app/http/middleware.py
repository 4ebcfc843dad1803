"""Middleware and error views that turn Django's own error pages into problem documents, except in the admin."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.views import defaults

from eventsource_app.http.api_errors import answer_engine_error
from eventsource_app.http.problem import problem


class ProblemMiddleware:
    """Answer what no API view could: an unrouted path, a method that a path lacks, Django's debug pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code < 400 or "json" in response.get("Content-Type", "") or _is_admin(request):
            return response
        answer = problem(request, response.status_code)
        for header in ("Allow", "Retry-After", "WWW-Authenticate"):
            if header in response:
                answer[header] = response[header]
        return answer

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for any view, the admin's too: 503 when the database is away, and what the engine refuses."""
        return answer_engine_error(request, error)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 (``handler400``)."""
    return defaults.bad_request(request, exception) if _is_admin(request) else problem(request, 400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 (``handler403``)."""
    return defaults.permission_denied(request, exception) if _is_admin(request) else problem(request, 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404 (``handler404``)."""
    return defaults.page_not_found(request, exception) if _is_admin(request) else problem(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500 (``handler500``)."""
    return defaults.server_error(request) if _is_admin(request) else problem(request, 500)


def _is_admin(request: HttpRequest) -> bool:
    """Say whether a person in the admin gets the answer: people get pages."""
    try:
        return request.path.startswith(reverse("admin:index"))
    except NoReverseMatch:
        return False
