"""Spans, where a deployment wants them; otherwise nothing of OpenTelemetry is imported, and a place costs one ``if``.

if tracing.spans is not None and self.enable_tracing:
    with tracing.spans.span("eventsource.append", {...}): ...
"""

import logging

from django.core.exceptions import ImproperlyConfigured

from eventsource_app.observability.spans import Spans

# Set by `set_up`; None is no tracing.
spans: Spans | None = None


def set_up(
    endpoint: str | None = None, service_name: str = "eventsource-app", service_version: str = "1.0.0"
) -> None:
    """Export spans to an OTLP collector, if there is an ``endpoint``.

    Raises ``ImproperlyConfigured`` for a wrong one, and where OpenTelemetry is not installed.

    In a web process before the application is loaded: the request's spans come from a middleware that is put in then.
    """
    global spans
    if endpoint and spans is None:
        try:
            from eventsource_app.observability import otlp  # only now: it imports OpenTelemetry

            spans = otlp.start(endpoint, service_name, service_version)
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(
                f"Traces are to go to {endpoint}, but {error.name} is not installed: "
                "install eventsource-app[tracing], or leave the endpoint empty."
            ) from error


class TraceFilter(logging.Filter):
    """Adds trace_id and span_id to every record inside a span that has none of its own; refuses no record."""

    def filter(self, record: logging.LogRecord) -> bool:
        ids = None if spans is None else spans.ids()
        if ids is not None and not hasattr(record, "trace_id"):
            record.trace_id, record.span_id = ids
        return True
