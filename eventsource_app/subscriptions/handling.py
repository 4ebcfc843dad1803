"""Calling the handlers of a projection; ``attempts`` and ``redelivery`` do it inside their transactions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

from django.db import connections

from eventsource_app.observability import tracing
from eventsource_app.observability.correlation import caused_by_each
from eventsource_app.observability.metrics import handler_seconds
from eventsource_app.observability.spans import Spans
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions.errors import BlockLeftOpenError, HandlerExitedError, is_for_the_process
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.spans import handling_span

# How often a batch of quick handlers looks whether it must end.
LOOK_SECONDS = 0.01
STEP = 16


def decode_ahead(
    events: list[RecordedEvent], upcoming: Callable[[], list[RecordedEvent]]
) -> Iterator[object]:
    """Decode these events, then the next ones, a few at each step: work for the moments when the database has the say.

    What cannot be decoded is left as it is, to be that event's error when a handler asks for it.
    """
    yield from _decode(events)
    yield from _decode(upcoming())  # looked up only now: the reader may have brought it meanwhile


def _decode(events: list[RecordedEvent]) -> Iterator[None]:
    for start in range(0, len(events), STEP):
        with suppress(Exception):
            for recorded in events[start : start + STEP]:
                recorded.event  # noqa: B018 - it is kept
        yield


def run_handlers(
    subscription: Subscription,
    using: str,
    events: list[RecordedEvent],
    must_cut: Callable[[float], bool],
) -> int | None:
    """Give events to the projection; return the position it was cut at, ``None`` when all were handled.

    Raises what a handler raises; in a worker's thread always an ``Exception``, since anything else would end the thread.
    """
    with handler_seconds.labels(subscription.name).time(), balanced_blocks(using):
        try:
            return _run(subscription, events, must_cut)
        except BaseException as error:
            if isinstance(error, Exception) or is_for_the_process(error):
                raise
            raise HandlerExitedError(error) from error


@contextmanager
def balanced_blocks(using: str) -> Iterator[None]:
    """Around a projection's code: end the atomic blocks that it leaves open, which would keep our own from its commit."""
    blocks = connections[using].atomic_blocks
    depth = len(blocks)
    try:
        yield
        if len(blocks) > depth:
            raise BlockLeftOpenError
    except BaseException as error:
        while len(blocks) > depth:
            blocks[-1].__exit__(type(error), error, error.__traceback__)
        raise


def _run(
    subscription: Subscription, events: list[RecordedEvent], must_cut: Callable[[float], bool]
) -> int | None:
    projection, size = subscription.projection, subscription.config.batch_size
    started = time.monotonic()
    if projection.takes_batches():
        for start in range(0, len(events), size):
            _handle_batch(subscription, events[start : start + size])
            if start + size < len(events) and must_cut(time.monotonic() - started):
                return events[start + size - 1].position
        return None
    handle = projection.handle if _spans(subscription) is None else partial(_handle_traced, subscription)
    return _run_each(handle, events, started, must_cut)


def _run_each(
    handle: Callable[[RecordedEvent], object],
    events: list[RecordedEvent],
    started: float,
    must_cut: Callable[[float], bool],
) -> int | None:
    last, look_at = events[-1], started
    with caused_by_each() as begin:
        for recorded in events:
            begin(recorded)
            handle(recorded)
            now = time.monotonic()
            if now >= look_at and recorded is not last:
                if must_cut(now - started):
                    return recorded.position
                look_at = now + LOOK_SECONDS
    return None


def _spans(subscription: Subscription) -> Spans | None:
    return tracing.spans if subscription.enable_tracing else None


def _handle_traced(subscription: Subscription, recorded: RecordedEvent) -> None:
    spans = _spans(subscription)
    with handling_span(spans, subscription.name, [recorded]) if spans else nullcontext():
        subscription.projection.handle(recorded)


def _handle_batch(subscription: Subscription, batch: list[RecordedEvent]) -> None:
    spans = _spans(subscription)
    with handling_span(spans, subscription.name, batch) if spans else nullcontext():
        subscription.projection.handle_batch(batch)  # type: ignore[attr-defined]
