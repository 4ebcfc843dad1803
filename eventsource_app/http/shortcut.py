"""The API's own way through the middleware: past sessions, messages, CSRF and what else pages need.

An operation reads a session by itself, and only when there is one and no token (``callers``), so nothing is lost.
"""

from collections.abc import Callable
from typing import Any

from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve


class ApiShortcutMiddleware:
    """Call ninja's views from here. Goes after SecurityMiddleware and before everything that is for pages."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._handler = BaseHandler()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return self.get_response(request)
        if match.app_name != "ninja":
            return self.get_response(request)
        request.get_host()  # refuses a host that is not ours; CommonMiddleware, which is passed by, would have asked
        request.resolver_match = match
        # Django's handler, which is passed by, makes a transaction of a request where ATOMIC_REQUESTS asks for it.
        view: Callable[..., Any] = self._handler.make_view_atomic(match.func)
        response: HttpResponse = view(request, *match.args, **match.kwargs)
        if not response.streaming:
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response
