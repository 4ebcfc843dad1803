"""Views beside the API that a deployment opens to all, to any valid caller, or to nobody: ``docs``, ``metrics``."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from eventsource_app.exceptions import EventSourceError
from eventsource_app.http.api_errors import answer_engine_error
from eventsource_app.http.callers import identify, refuse
from eventsource_app.http.config import api_config
from eventsource_app.http.problem import problem

View = Callable[..., HttpResponse]


def restricted(what: str) -> Callable[[View], View]:
    """Decorate a view to be read that the field ``what`` of ``EVENTSOURCE["API"]`` opens or closes; it answers its refusals itself."""

    def decorate(view: View) -> View:
        @require_safe
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return _refusal(request, getattr(api_config(), what)) or view(request, *args, **kwargs)

        return guarded

    return decorate


def _refusal(request: HttpRequest, access: str) -> HttpResponse | None:
    if access == "open":
        return None
    if access == "off":
        return problem(request, 404)
    try:
        if identify(request) is None:
            refuse(request, "Send a token, as in Authorization: Bearer est_…, or log in to the admin.")
    except (EventSourceError, OperationalError, InterfaceError) as error:
        return answer_engine_error(request, error)
    return None
