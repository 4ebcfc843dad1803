"""How the connection pools of this process are used, published as metrics."""

import threading
from collections import Counter
from typing import Final

from django.db import connections

from eventsource_app.observability import metrics

SAMPLE_SECONDS: Final = 1.0

# What the pools' own counters said when they were last published, by alias and counter.
_published: Counter[tuple[str, str]] = Counter()
_lock = threading.Lock()


def publish_pools() -> None:
    """Set the pool metrics to what the pools say now; asks no database."""
    for alias in connections:
        pool = getattr(connections[alias], "pool", None)
        if pool is None:
            continue
        stats = pool.get_stats()
        metrics.pool_max.labels(alias).set(pool.max_size)
        metrics.pool_size.labels(alias).set(stats.get("pool_size", 0))
        metrics.pool_available.labels(alias).set(stats.get("pool_available", 0))
        metrics.pool_waiting.labels(alias).set(stats.get("requests_waiting", 0))
        metrics.pool_waits.labels(alias).inc(_since_last(alias, "requests_queued", stats))
        metrics.pool_timeouts.labels(alias).inc(_since_last(alias, "requests_errors", stats))


def publish_pools_regularly() -> threading.Thread:
    """Publish from a thread of its own, for processes whose metrics another process shows."""
    thread = threading.Thread(target=_publish_forever, name="pool-metrics", daemon=True)
    thread.start()
    return thread


def _publish_forever() -> None:
    pause = threading.Event()
    while not pause.wait(SAMPLE_SECONDS):
        publish_pools()


def _since_last(alias: str, counter: str, stats: dict[str, int]) -> int:
    now = stats.get(counter, 0)
    with _lock:
        grown = now - _published[alias, counter]
        _published[alias, counter] = now
    return grown if grown >= 0 else now  # a pool that was made anew counts from 0
