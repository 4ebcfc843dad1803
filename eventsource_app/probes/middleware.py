"""Probes answered before the rest of the stack."""

from collections.abc import Callable

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

PROBES = "eventsource_app.probes.urls"
PATHS = ("/health", "/metrics")


class ProbeMiddleware:
    """Serve probes and metrics from here: kubelet and Prometheus call a pod by its IP, which ALLOWED_HOSTS cannot list, and without TLS.

    Goes before SecurityMiddleware and CommonMiddleware, which would answer 301 and 400. No view behind the probes
    looks at the host, so there is nothing to protect by checking it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PATHS):
            return self.get_response(request)
        try:
            match = resolve(request.path_info, PROBES)
        except Resolver404:
            return self.get_response(request)
        request.resolver_match = match
        view = async_to_sync(match.func) if iscoroutinefunction(match.func) else match.func
        response: HttpResponse = view(request, *match.args, **match.kwargs)
        return response
