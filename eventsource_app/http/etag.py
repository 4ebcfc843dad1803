"""Entity tags: an aggregate's version, in quotes. ``If-Match`` makes a command conditional, ``If-None-Match`` a question."""

import re
from collections.abc import Callable
from typing import Final, Protocol

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import get_conditional_response

from eventsource_app.exceptions import EventSourceError

# One element of the list, possibly empty, with the comma behind it (RFC 9110, 8.8.3 and 13.1.1).
_ELEMENT: Final = re.compile(r'[ \t]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")?[ \t]*(?:,|\Z)')
_SHOWN_CHARACTERS = 60


class HasVersion(Protocol):
    """What has a version: an aggregate."""

    @property
    def version(self) -> int: ...


class InvalidPreconditionError(EventSourceError):
    """An ``If-Match`` that is neither ``*`` nor a list of entity tags."""

    def __init__(self, text: str) -> None:
        shown = ascii(text[:_SHOWN_CHARACTERS])
        super().__init__(f'If-Match is {shown}: send an ETag as it was given, quotes included, such as "3".')


class PreconditionFailedError(EventSourceError):
    """What the caller saw is no longer so; ``actual`` is the version now (0: there is none)."""

    def __init__(self, asked: str, actual: int) -> None:
        there = f"the version is {etag(actual)}" if actual else "there is nothing yet"
        super().__init__(
            f"If-Match asks for {asked[:_SHOWN_CHARACTERS]}, but {there}; look at it again and decide anew."
        )
        self.asked, self.actual = asked, actual
        self.etag = etag(actual) if actual else None


def etag(version: int) -> str:
    """Return the strong ETag of a version: ``"3"``."""
    return f'"{version}"'


def precondition(request: HttpRequest) -> Callable[[HasVersion], None]:
    """Return a check of the request's ``If-Match``; it raises ``PreconditionFailedError``.

    Without the header everything passes. A weak tag matches nothing (RFC 9110, 13.1.1). Raises ``InvalidPreconditionError``.
    """
    text = request.headers.get("If-Match")
    if text is None:
        return _pass
    tags = _parse(text)

    def check(aggregate: HasVersion) -> None:
        version = aggregate.version
        if version == 0 or not ("*" in tags or etag(version) in tags):
            raise PreconditionFailedError(text, version)

    return check


def unchanged(request: HttpRequest, version: int) -> HttpResponse | None:
    """Return a 304 when the request's ``If-None-Match`` has this version."""
    response = get_conditional_response(request, etag=etag(version))
    if not isinstance(response, HttpResponseNotModified):
        return None
    response["ETag"] = etag(version)
    return response


def _pass(aggregate: HasVersion) -> None:
    return None


def _parse(text: str) -> frozenset[str]:
    if text.strip() == "*":
        return frozenset("*")
    tags, place = set(), 0
    while place < len(text):
        found = _ELEMENT.match(text, place)
        if found is None:
            raise InvalidPreconditionError(text)
        tags.add(found[1])
        place = found.end()
    tags.discard(None)
    if not tags:
        raise InvalidPreconditionError(text)
    return frozenset(tags)
