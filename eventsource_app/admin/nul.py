"""NUL in what a browser sends to the admin: no text in PostgreSQL can have it, so nothing there has such a name or value."""

from collections.abc import Iterator
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.deprecation import MiddlewareMixin
from django.views import defaults

NUL: Final = "\0"


class NulMiddleware(MiddlewareMixin):
    """Answer before any page of the admin asks the database: 404 for an address with NUL, 400 for a value with it.

    Goes last: Django's own refusals (CSRF, a body too large) come first.
    """

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or "admin" not in match.app_names:
            return None
        if NUL in request.path_info:
            raise Http404
        if any(NUL in text for text in _sent(request)):
            # Not raised: with DEBUG that would be a traceback.
            return defaults.bad_request(request, ValueError("NUL"))
        return None


def _sent(request: HttpRequest) -> Iterator[str]:
    yield from _texts(request.GET)
    yield from _texts(request.POST)
    yield from request.COOKIES.values()


def _texts(values: QueryDict) -> Iterator[str]:
    for name, texts in values.lists():
        yield name
        yield from map(str, texts)
