"""OpenTelemetry: spans of requests, queries and our own, sent to an OTLP collector. Imported only when it is wanted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from opentelemetry import trace
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from eventsource_app.observability.attributes import TRACEPARENT
from eventsource_app.observability.collector import goes_by_grpc
from eventsource_app.observability.json_logging import SPAN_ID, TRACE_ID
from eventsource_app.observability.spans import Attribute, SpanIds

# A collector that is away must not hold up the end of a process for long.
EXPORT_TIMEOUT_SECONDS: Final = 5
TRACES_PATH: Final = "/v1/traces"
# Probes and scrapes come every few seconds and say nothing.
# They are looked for in the whole URL, where a customer may be called "healthy"; the app's probes need not be at its root.
EXCLUDED_URLS: Final = "/(health|health/ready|health/live|metrics)/?$"
# What the instrumentations of Django and psycopg record too: an exception's words, and the query behind an address.
WORDS: Final = ("exception.message", "exception.stacktrace")
ADDRESSES: Final = ("http.target", "http.url", "url.full")
PROBES: Final = "eventsource_app.probes.middleware.ProbeMiddleware"
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def start(endpoint: str, service_name: str, service_version: str) -> "OtlpSpans":
    """Start exporting, and instrument Django and psycopg; in each process once. Forks go on with a thread of their own."""
    resource = Resource.create({"service.name": service_name, "service.version": service_version})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(DiscreetProcessor(exporter_for(endpoint)))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(
        excluded_urls=EXCLUDED_URLS,
        middleware_position=_behind_probes(settings.MIDDLEWARE),
        request_hook=_tell_access_log,
        response_hook=_add_route,
    )
    PsycopgInstrumentor().instrument()
    return OtlpSpans(provider.get_tracer("eventsource", service_version))


def _behind_probes(middleware: Sequence[str]) -> int:
    """Return the place for the spans' middleware: it asks for the host, which is refused where kubelet calls a pod by its IP."""
    return middleware.index(PROBES) + 1 if PROBES in middleware else 0


def _tell_access_log(span: trace.Span, request: HttpRequest) -> None:
    """Leave the ids in the request's environment, which the access log sees after the span's end."""
    context = span.get_span_context()
    request.META[TRACE_ID] = trace.format_trace_id(context.trace_id)
    request.META[SPAN_ID] = trace.format_span_id(context.span_id)


def _add_route(span: trace.Span, request: HttpRequest, response: HttpResponse) -> None:
    """Name the route also where middleware has called the view: the instrumentation looks just before Django does."""
    match = request.resolver_match
    if match is not None:
        span.set_attribute("http.route", match.route)


def exporter_for(endpoint: str) -> SpanExporter:
    """Return the exporter: gRPC without TLS for ``host:4317``, HTTP with protobuf for ``http://`` and ``https://``."""
    try:
        by_grpc = goes_by_grpc(endpoint)
    except ValueError as error:
        raise ImproperlyConfigured(f"OTLP_ENDPOINT is {endpoint!r}: use {error}.") from None
    if by_grpc:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint=endpoint, insecure=True, timeout=EXPORT_TIMEOUT_SECONDS)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(endpoint=traces_url(endpoint), timeout=EXPORT_TIMEOUT_SECONDS)


def traces_url(endpoint: str) -> str:
    """Return where spans are posted, for a collector's base address or for the full one."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH


class DiscreetProcessor(BatchSpanProcessor):
    """Sends spans without an exception's words, which may hold rows of people, and without queries, which may hold secrets."""

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(discreet(span))


def discreet(span: ReadableSpan) -> ReadableSpan:
    """Return the span as it may leave the process; of an exception the type stays."""
    attributes = {
        name: value.partition("?")[0] if name in ADDRESSES and isinstance(value, str) else value
        for name, value in (span.attributes or {}).items()
        if name != "url.query"
    }
    events = [
        Event(
            each.name,
            {name: value for name, value in (each.attributes or {}).items() if name not in WORDS},
            each.timestamp,
        )
        for each in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class OtlpSpans:
    """``Spans`` on a tracer of OpenTelemetry."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, Attribute],
        links: Iterable[str] = (),
        *,
        consumes: bool = False,
    ) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.CONSUMER if consumes else SpanKind.INTERNAL,
            attributes=attributes,
            links=[Link(_context_of(traceparent)) for traceparent in links],
            # An exception's text may hold rows of people: the log has it, with its DETAIL cut.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
                span.set_status(StatusCode.ERROR)
                raise

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier.get(TRACEPARENT)

    def ids(self) -> SpanIds | None:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return SpanIds(trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))


def _context_of(traceparent: str) -> trace.SpanContext:
    return trace.get_current_span(_PROPAGATOR.extract({TRACEPARENT: traceparent})).get_span_context()
