"""Which commands of the project's APIs may be given by anybody, read from the APIs' own descriptions."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from django.urls import URLPattern, URLResolver, get_resolver
from ninja import NinjaAPI

COMMANDS: Final = ("post", "put", "patch", "delete")


def open_commands() -> list[str]:
    """Return "POST /orders" and the like for every command that asks for no authentication."""
    return sorted({found for api in _apis(get_resolver().url_patterns) for found in _open_commands_of(api)})


def _open_commands_of(api: NinjaAPI) -> Iterator[str]:
    for path, operations in api.get_openapi_schema()["paths"].items():
        for method, operation in operations.items():
            if method in COMMANDS and not operation.get("security"):
                yield f"{method.upper()} {path}"


def _apis(patterns: Iterable[Any]) -> Iterator[NinjaAPI]:
    """The views of an API's own pages hold the API."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _apis(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            api = getattr(pattern.callback, "keywords", {}).get("api")
            if isinstance(api, NinjaAPI):
                yield api
