"""What the engine asks of a tracer, whoever that is."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

Attribute = str | int | list[str]


class SpanIds(NamedTuple):
    """Where a log line belongs, in hexadecimal."""

    trace_id: str
    span_id: str


class Spans(Protocol):
    """What the engine asks of a tracer."""

    def span(
        self,
        name: str,
        attributes: Mapping[str, Attribute],
        links: Iterable[str] = (),
        *,
        consumes: bool = False,
    ) -> AbstractContextManager[None]:
        """Open a span, the child of the current one; ``links`` are traceparents of others that led to it."""

    def traceparent(self) -> str | None:
        """Return the current span's context in W3C form, or None outside any span."""

    def ids(self) -> SpanIds | None:
        """Return the current span's ids, or None outside any span."""
