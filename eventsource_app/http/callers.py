"""Who calls: the name under which keys and limits of one caller are kept apart from another's."""

from typing import Any

from django.http import HttpRequest

ANONYMOUS = "anonymous"


def caller_of(operation: Any, request: HttpRequest) -> str:
    """Return the caller's name."""
    return ANONYMOUS
