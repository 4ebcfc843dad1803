"""Spans of OpenTelemetry: where they go, what they hold, and what they never hold."""

import logging
import sys
from collections.abc import Iterator

import pytest
from django.core.exceptions import ImproperlyConfigured
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from opentelemetry.util.http import parse_excluded_urls

from eventsource_app.observability import tracing
from eventsource_app.observability.otlp import (
    EXCLUDED_URLS,
    DiscreetProcessor,
    OtlpSpans,
    exporter_for,
    traces_url,
)
from eventsource_app.observability.tracing import TraceFilter


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def spans(exported: InMemorySpanExporter) -> Iterator[OtlpSpans]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    yield OtlpSpans(provider.get_tracer("test"))
    provider.shutdown()


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "eventsource_app.observability.otlp")
    monkeypatch.delattr("eventsource_app.observability.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(
        ImproperlyConfigured, match=r"opentelemetry.* not installed: install eventsource-app\[tracing"
    ):
        tracing.set_up("collector:4317")


@pytest.mark.parametrize(
    ("endpoint", "module"),
    [
        ("http://collector:4318", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("https://collector.example/otlp", "opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        ("collector:4317", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"),
        ("[::1]:4317", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"),
    ],
)
def test_the_endpoint_chooses_the_protocol(endpoint: str, module: str) -> None:
    exporter = exporter_for(endpoint)
    assert type(exporter).__module__ == module
    exporter.shutdown()


@pytest.mark.parametrize("endpoint", ["collector", "grpc://collector:4317", "http://", "collector:otlp"])
def test_any_other_endpoint_is_refused_with_a_sentence(endpoint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"OTLP_ENDPOINT is .* use host:4317 for gRPC"):
        exporter_for(endpoint)


def test_a_base_address_gets_the_path_of_traces() -> None:
    full = "http://collector:4318/v1/traces"
    assert {traces_url(url) for url in (full, "http://collector:4318", "http://collector:4318/")} == {full}


def test_a_link_is_made_of_what_another_span_left_behind(
    spans: OtlpSpans, exported: InMemorySpanExporter
) -> None:
    with spans.span("first", {}):
        left_behind = spans.traceparent()
    assert left_behind
    assert spans.traceparent() is None
    with spans.span("second", {"event.id": "1"}, [left_behind], consumes=True):
        pass
    first, second = exported.get_finished_spans()
    (link,) = second.links
    assert (link.context.trace_id, link.context.span_id) == (first.context.trace_id, first.context.span_id)
    assert second.context.trace_id != first.context.trace_id


def test_a_failed_span_names_the_error_and_repeats_none_of_its_words(
    spans: OtlpSpans, exported: InMemorySpanExporter
) -> None:
    with pytest.raises(ValueError, match="already exists"), spans.span("fails", {}):
        raise ValueError("Key (email)=(ada@example.com) already exists.")
    (span,) = exported.get_finished_spans()
    assert not span.status.is_ok
    assert (span.attributes or {})["error.type"] == "builtins.ValueError"
    assert "ada@example.com" not in span.to_json()


def test_what_the_instrumentations_record_leaves_without_an_exceptions_words_and_without_queries(
    exported: InMemorySpanExporter,
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(DiscreetProcessor(exported))
    tracer = provider.get_tracer("psycopg")
    addresses = {
        "http.target": "/orders?customer_id=ada",
        "http.url": "http://shop.example/?token=1",
        "url.full": "http://shop.example/orders",
        "url.query": "customer_id=ada",
    }
    with (
        pytest.raises(ValueError, match="already exists"),
        tracer.start_as_current_span("insert", attributes={**addresses, "db.system": "postgresql"}),
    ):
        raise ValueError("DETAIL:  Key (email)=(ada@example.com) already exists.")
    provider.force_flush()
    (span,) = exported.get_finished_spans()
    assert span.attributes == {
        "http.target": "/orders",
        "http.url": "http://shop.example/",
        "url.full": "http://shop.example/orders",
        "db.system": "postgresql",
    }
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    (event,) = span.events
    assert (event.attributes or {})["exception.type"] == "ValueError"
    assert "ada" not in span.to_json()
    provider.shutdown()


def test_a_log_line_inside_a_span_carries_its_ids(spans: OtlpSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "spans", spans)
    outside, inside = (logging.makeLogRecord({}) for _ in range(2))
    assert TraceFilter().filter(outside)
    with spans.span("request", {}):
        ids = spans.ids()
        assert TraceFilter().filter(inside)
    assert not hasattr(outside, "trace_id")
    assert ids is not None
    assert (len(ids.trace_id), len(ids.span_id)) == (32, 16)
    assert (vars(inside)["trace_id"], vars(inside)["span_id"]) == ids


@pytest.mark.parametrize(
    ("path", "is_excluded"),
    [
        ("/health", True),
        ("/health/live", True),
        ("/internal/metrics", True),
        ("/customers/healthy", False),
        ("/orders", False),
    ],
)
def test_probes_have_no_spans_and_names_that_look_like_them_have(path: str, is_excluded: bool) -> None:
    assert parse_excluded_urls(EXCLUDED_URLS).url_disabled(f"http://shop.example{path}") is is_excluded
