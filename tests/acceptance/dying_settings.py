"""Development settings with a middleware that kills its own process after the command and before the answer."""

import os
import signal
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from settings.base import *  # noqa: F403
from settings.base import MIDDLEWARE


class DiesBeforeAnswering:
    """For a request that asks for it (X-Die)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if "X-Die" in request.headers:
            os.kill(os.getpid(), signal.SIGKILL)
        return response


MIDDLEWARE = [f"{__name__}.DiesBeforeAnswering", *MIDDLEWARE]
