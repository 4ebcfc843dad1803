"""Request bodies without a Content-Length (``Transfer-Encoding: chunked``), of which Django alone reads nothing at all.

A command would be carried out as if it had no body. WSGI leaves such bodies undefined; a server that ends them by itself says
so (``wsgi.input_terminated``, as gunicorn does), and then they can be read as any other: only when somebody asks, after the
caller was let in, and by ``HttpRequest.body`` no further than one byte past DATA_UPLOAD_MAX_MEMORY_SIZE.
"""

from collections.abc import Callable
from io import IOBase
from typing import Any, Final

from django.http import HttpRequest

MULTIPART: Final = "multipart/form-data"


class TerminatedStream(IOBase):
    """The server's stream; whatever the server finds wrong with a body is an ``OSError``, which Django takes for unreadable."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def read(self, size: int | None = -1, /) -> bytes:
        return _readable(self._source.read, size)

    def readline(self, size: int | None = -1, /) -> bytes:
        return _readable(self._source.readline, size)


def read_to_its_end(request: HttpRequest) -> None:
    """Let everybody behind see the body of a request without a length, where the server knows its end."""
    if request.META.get("wsgi.input_terminated"):
        # HttpRequest leaves its source of bytes to whoever makes the request, and has no other name for it.
        request._stream = TerminatedStream(request.META["wsgi.input"])  # type: ignore[assignment]


def is_form_without_length(request: HttpRequest) -> bool:
    """Say whether Django would take it for a form without any field: its parser of these wants a length."""
    return request.content_type == MULTIPART and "HTTP_TRANSFER_ENCODING" in request.META


def _readable(read: Callable[[int | None], bytes], size: int | None) -> bytes:
    try:
        return read(size)
    except Exception as error:
        # Each server has errors of its own for a chunk that is none, and they need not be OSErrors.
        raise OSError(str(error)) from error
