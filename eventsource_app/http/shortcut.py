"""The API's own way through the middleware: past sessions, messages, CSRF and what else pages need.

An operation reads a session by itself, and only when there is one and no token (``callers``), so nothing is lost.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.handlers.base import BaseHandler
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, ResolverMatch, resolve

from eventsource_app.http.api_errors import answer_engine_error
from eventsource_app.http.outage import OutageGate
from eventsource_app.http.problem import DATABASE_AWAY, ProblemResponse, problem
from eventsource_app.http.whole_body import is_form_without_length, read_to_its_end
from eventsource_app.store.session import log_database


class ApiShortcutMiddleware:
    """Call ninja's views from here. Goes after SecurityMiddleware and before everything that is for pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._handler = BaseHandler()
        self._gate = OutageGate()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return self.get_response(request)
        if match.app_name != "ninja":
            return self.get_response(request)
        request.get_host()  # refuses a host that is not ours; CommonMiddleware, which is passed by, would have asked
        request.resolver_match = match
        return self._head(request, match) if request.method == "HEAD" else self._answer(request, match)

    def _head(self, request: HttpRequest, match: ResolverMatch) -> HttpResponse:
        """Answer as a GET, whose route it is (RFC 9110, 9.3.2); only the views see one, not what logs and counts."""
        request.method = "GET"
        try:
            response = self._answer(request, match)
        finally:
            request.method = "HEAD"
        if not response.streaming:
            response.content = b""  # the Content-Length stays the GET's
        return response

    def _answer(self, request: HttpRequest, match: ResolverMatch) -> HttpResponse:
        if is_form_without_length(request):
            return problem(request, 400, "A form with files needs a Content-Length.")
        read_to_its_end(request)
        with self._gate.passage() as may_go_on:
            response = self._call(request, match) if may_go_on else problem(request, 503, kind=DATABASE_AWAY)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            _allow_head(response)
        # A 304 has no body, and a length of it would speak of the 200's (RFC 9110, 8.6).
        if not response.streaming and response.status_code != HTTPStatus.NOT_MODIFIED:
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response

    def _call(self, request: HttpRequest, match: ResolverMatch) -> HttpResponse:
        # Django's handler, which is passed by, makes a transaction of a request where ATOMIC_REQUESTS asks for it.
        view: Callable[..., Any] = self._handler.make_view_atomic(match.func)
        try:
            response: HttpResponse = view(request, *match.args, **match.kwargs)
        except (OperationalError, InterfaceError) as error:
            # Raised before ninja had its turn, by that transaction.
            answer = answer_engine_error(request, error)
            if answer is None:
                raise
            response = answer
        if connections[log_database()].connection is not None:
            self._gate.open()
        elif isinstance(response, ProblemResponse) and response.kind == DATABASE_AWAY:
            self._gate.close()
        return response


def _allow_head(response: HttpResponse) -> None:
    """Name HEAD where GET is named: ninja knows only what a route was declared with."""
    allowed = response.get("Allow", "").split(", ")
    if "GET" in allowed and "HEAD" not in allowed:
        response["Allow"] = ", ".join([*allowed, "HEAD"])
