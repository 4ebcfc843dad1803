"""Which spans there are, and that ``enable_tracing=False`` means none."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from eventsource_app.aggregates import AggregateRepository
from eventsource_app.observability import tracing
from eventsource_app.observability.otlp import OtlpSpans
from eventsource_app.store import EventStore, ExpectedVersion
from eventsource_app.subscriptions import SubscriptionConfig
from tests.builders import Account, a_store, a_stream, payments
from tests.integration.ledger import NAME, QUICK, BatchLedger, Ledger, World


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Tracing is on in this process, into a list."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "spans", OtlpSpans(provider.get_tracer("test")))
    yield exporter
    provider.shutdown()


def traced_store(enable_tracing: bool) -> EventStore:
    return EventStore(registry=a_store().registry, enable_tracing=enable_tracing)


def names(exported: InMemorySpanExporter) -> Counter[str]:
    return Counter(span.name for span in exported.get_finished_spans())


def named(exported: InMemorySpanExporter, name: str) -> Sequence[ReadableSpan]:
    return [span for span in exported.get_finished_spans() if span.name == name]


@pytest.mark.django_db
@pytest.mark.parametrize(("store_traces", "repository_traces"), [(True, True), (True, False), (False, True)])
def test_store_and_repository_have_spans_of_their_own(
    exported: InMemorySpanExporter, store_traces: bool, repository_traces: bool
) -> None:
    repository = AggregateRepository(
        event_store=traced_store(store_traces),
        aggregate_factory=Account,
        aggregate_type="Account",
        enable_tracing=repository_traces,
    )
    account = repository.create_new(a_stream().aggregate_id)
    account.open("ada")
    repository.save(account)
    repository.load(account.aggregate_id)

    assert names(exported) == Counter(
        (["eventsource.append", "eventsource.read_stream"] if store_traces else [])
        + (["eventsource.aggregate.save", "eventsource.aggregate.load"] if repository_traces else [])
    )


@pytest.mark.django_db
def test_nothing_is_stamped_and_nothing_spanned_without_tracing(exported: InMemorySpanExporter) -> None:
    stream, store = a_stream(), traced_store(False)
    store.append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
    (recorded,) = store.read_stream(stream)
    assert recorded.event.metadata == {}
    assert names(exported) == Counter()


@pytest.mark.django_db
def test_several_events_of_one_append_are_one_span(exported: InMemorySpanExporter) -> None:
    stream, store = a_stream(), traced_store(True)
    events = payments(stream, 2)
    store.append(stream, events, ExpectedVersion.NO_STREAM)
    (span,) = named(exported, "eventsource.append")
    assert (span.attributes or {})["event.id"] == tuple(str(event.event_id) for event in events)


@pytest.mark.django_db
def test_an_event_that_came_with_a_context_keeps_it(exported: InMemorySpanExporter) -> None:
    stream, store = a_stream(), traced_store(True)
    (event,) = payments(stream, 1)
    given = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    store.append(stream, [event.model_copy(update={"metadata": given})], ExpectedVersion.NO_STREAM)
    (recorded,) = store.read_stream(stream)
    assert recorded.event.metadata == given


@pytest.mark.parametrize("projection_class", [Ledger, BatchLedger])
def test_what_is_handled_links_to_what_wrote_it(
    exported: InMemorySpanExporter, world: World, projection_class: type[Ledger] | type[BatchLedger]
) -> None:
    world.accounts(1)
    world.catch_up(projection_class())
    (written,) = named(exported, "eventsource.append")
    (handled,) = named(exported, "eventsource.handle")
    assert [link.context.span_id for link in handled.links] == [written.context.span_id]
    assert dict(handled.attributes or {}) == {
        "subscription.name": NAME,
        "subscription.state": "running",
        **{
            name: (written.attributes or {})[name]
            for name in ("event.id", "event.type", "aggregate.id", "aggregate.type")
        },
    }


def test_a_batch_links_to_each_of_its_requests_once(exported: InMemorySpanExporter, world: World) -> None:
    world.accounts(3)
    world.catch_up(BatchLedger(), batch_size=10)
    handled = named(exported, "eventsource.handle")
    assert sum(len(span.links) for span in handled) == 3


def test_a_manager_without_tracing_has_no_spans(exported: InMemorySpanExporter, world: World) -> None:
    world.accounts(1)
    manager = world.manager()
    manager.enable_tracing = False
    manager.subscribe(world.ledger, SubscriptionConfig(**QUICK), name=NAME)
    manager.start()
    world.wait_until_caught_up()
    manager.stop()
    world.assert_each_once()
    assert named(exported, "eventsource.handle") == []
