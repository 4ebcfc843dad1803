"""Request bodies to their end: neither the rest nor the whole of one may be missing when a command is carried out.

One that breaks off before its Content-Length Django alone takes for what has come of it. One without a Content-Length
(``Transfer-Encoding: chunked``) it does not read at all. WSGI leaves such bodies undefined; a server that ends them by itself says
so (``wsgi.input_terminated``, as gunicorn does), and then they can be read as any other: only when somebody asks, after the
caller was let in, and by ``HttpRequest.body`` no further than one byte past DATA_UPLOAD_MAX_MEMORY_SIZE.
"""

from collections.abc import Callable
from io import IOBase
from typing import Any, Final

from django.core.handlers.wsgi import LimitedStream
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


class UnbrokenSource:
    """The server's stream of a body with a length, asked for no more than that; an end before it is an ``OSError``."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        if len(data) < size:
            raise OSError(f"The body ended {size - len(data)} bytes before its length.")
        return data

    def readline(self, size: int) -> bytes:
        line: bytes = self._source.readline(size)
        if not line:
            raise OSError(f"The body ended {size} bytes before its length.")
        return line


def read_to_its_end(request: HttpRequest) -> None:
    """Let everybody behind see the whole body or none: to its length or, without one, to where the server knows its end."""
    # HttpRequest leaves its source of bytes to whoever makes the request, and has no other name for it.
    stream: Any = request._stream
    if "CONTENT_LENGTH" in request.META:
        if isinstance(stream, LimitedStream):
            source: Any = UnbrokenSource(request.META["wsgi.input"])
            request._stream = LimitedStream(source, stream.limit)  # type: ignore[assignment]
    elif request.META.get("wsgi.input_terminated"):
        request._stream = TerminatedStream(request.META["wsgi.input"])  # type: ignore[assignment]


def is_form_without_length(request: HttpRequest) -> bool:
    """Say whether Django would take it for a form without any field: its parser of these wants a length."""
    return (
        request.content_type == MULTIPART
        and "CONTENT_LENGTH" not in request.META
        and "HTTP_TRANSFER_ENCODING" in request.META
    )


def _readable(read: Callable[[int | None], bytes], size: int | None) -> bytes:
    try:
        return read(size)
    except Exception as error:
        # Each server has errors of its own for a chunk that is none, and they need not be OSErrors.
        raise OSError(str(error)) from error
