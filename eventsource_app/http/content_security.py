"""The Content-Security-Policy header: a browser runs only what this site itself serves.

``SECURE_CSP`` has the shape that Django 6 gives it, {"default-src": ["'self'"]}; there Django's own middleware takes over.
"""

from collections.abc import Callable, Mapping, Sequence

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"
Policy = Mapping[str, Sequence[str]]


class ContentSecurityMiddleware:
    """Goes first, so that every answer has the header; a view may have set its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        policy: Policy = getattr(settings, "SECURE_CSP", {})
        if not policy:
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.value = header_value(policy)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # Django's own pages about an error in development have their styles inside.
        if not (settings.DEBUG and response.status_code >= 400):
            response.headers.setdefault(HEADER, self.value)
        return response


def header_value(policy: Policy) -> str:
    return "; ".join(f"{directive} {' '.join(sources)}".strip() for directive, sources in policy.items())
