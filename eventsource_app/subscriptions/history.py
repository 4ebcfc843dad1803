"""History: lag and counters of each partition every half minute, for six hours, in a ring of rows.

A process samples the partitions that it owns, and those that nobody owns, with its heartbeat: one statement a half
minute, whatever the load. A sample's place in the ring is the time itself, so nothing has to be deleted or counted.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from eventsource_app.store.session import execute, fetch_all, fetch_one, log_database

SAMPLE_SECONDS: Final = 30
SAMPLES_KEPT: Final = 720
KEPT_SECONDS: Final = float(SAMPLE_SECONDS * SAMPLES_KEPT)
# Over a longer silence nobody knows when the events were handled.
LONGEST_SILENCE_SECONDS: Final = SAMPLE_SECONDS * 4
RATE_SECONDS: Final = SAMPLE_SECONDS * 2.5

SAMPLE: Final = f"""
INSERT INTO eventsource_app_subscriptionsample AS kept
    (subscription, partition, tick, sampled_at, lag_events, lag_seconds, events_processed, events_failed)
SELECT c.subscription, c.partition, floor(extract(epoch FROM now.moment) / {SAMPLE_SECONDS})::bigint %% {SAMPLES_KEPT},
       now.moment, greatest(0, log.last_value - greatest(c.position, 1)),
       coalesce(greatest(extract(epoch FROM now.moment - oldest.recorded_at), 0), 0), c.events_processed, c.events_failed
  FROM (SELECT clock_timestamp() AS moment) AS now, eventsource_app_event_position_seq AS log,
       eventsource_app_checkpoint AS c
  LEFT JOIN LATERAL (SELECT e.recorded_at FROM eventsource_app_event AS e
                      WHERE e.position > c.position ORDER BY e.position LIMIT 1) AS oldest ON true
 WHERE c.subscription = ANY(%(names)s::varchar[])
   AND (c.owner = %(owner)s OR c.owner IS NULL OR c.lease_expires_at <= now.moment)
ON CONFLICT (subscription, partition, tick) DO UPDATE SET
    sampled_at = excluded.sampled_at, lag_events = excluded.lag_events, lag_seconds = excluded.lag_seconds,
    events_processed = excluded.events_processed, events_failed = excluded.events_failed
"""  # noqa: S608 - constants only
# Of each stretch and partition the worst lag and the last counter; a rate is what lies between two last counters. Partitions
# add up, and the worst of them is the lag. float8 throughout: extract() is numeric, which would take five times as long.
POINTS: Final = """
WITH binned AS (
    SELECT subscription, partition, floor(extract(epoch FROM sampled_at)::float8 / %(bin)s::float8) AS bin,
           max(lag_events) AS lag_events, max(lag_seconds) AS lag_seconds, max(events_processed) AS processed,
           extract(epoch FROM max(sampled_at))::float8 AS until
      FROM eventsource_app_subscriptionsample
     WHERE sampled_at > clock_timestamp() - make_interval(secs => %(seconds)s)
     GROUP BY 1, 2, 3
), step AS (
    SELECT *, until - lag(until) OVER partition_bins AS seconds,
           greatest(0, processed - lag(processed) OVER partition_bins) AS more
      FROM binned WINDOW partition_bins AS (PARTITION BY subscription, partition ORDER BY bin)
)
SELECT subscription, to_timestamp((bin + 0.5) * %(bin)s::float8), max(lag_events), max(lag_seconds),
       sum(more / seconds) FILTER (WHERE seconds <= %(longest)s::float8)
  FROM step GROUP BY subscription, bin ORDER BY subscription, bin
"""
SPAN: Final = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(sampled_at)), 0)::float8
  FROM eventsource_app_subscriptionsample WHERE sampled_at > clock_timestamp() - make_interval(secs => %s)
"""
RATES: Final = """
SELECT c.subscription, c.partition, greatest(0, c.events_processed - since.events_processed)
           / greatest(extract(epoch FROM clock_timestamp() - since.sampled_at), 1)::float8
  FROM eventsource_app_checkpoint AS c
  CROSS JOIN LATERAL (SELECT s.sampled_at, s.events_processed FROM eventsource_app_subscriptionsample AS s
         WHERE s.subscription = c.subscription AND s.partition = c.partition
           AND s.sampled_at > clock_timestamp() - make_interval(secs => %s)
         ORDER BY s.sampled_at LIMIT 1) AS since
"""
FORGET: Final = """
DELETE FROM eventsource_app_subscriptionsample WHERE id IN (
    SELECT id FROM eventsource_app_subscriptionsample
     WHERE sampled_at < clock_timestamp() - make_interval(secs => %s) LIMIT %s)
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One subscription over one stretch of time: its worst partition's lag, and all partitions' events per second.

    ``rate`` is ``None`` where no two samples are close enough to tell.
    """

    at: datetime
    lag_events: int
    lag_seconds: float
    rate: float | None


class Sampler:
    """Takes this process's samples when they are due; to be asked as often as one likes."""

    def __init__(self, using: str, owner: str) -> None:
        self._using, self._owner = using, owner
        self._next_sample = 0.0

    def sample_if_due(self, names: Sequence[str]) -> None:
        if time.monotonic() < self._next_sample:
            return
        sample(self._using, self._owner, names)
        self._next_sample = time.monotonic() + SAMPLE_SECONDS


def sample(using: str, owner: str, names: Sequence[str]) -> None:
    """Write down how the partitions of these subscriptions are that ``owner`` owns, or nobody."""
    execute(using, SAMPLE, {"names": list(names), "owner": owner})


def points(
    seconds: float = KEPT_SECONDS, count: int = 120, *, using: str | None = None
) -> dict[str, list[Point]]:
    """Return the last ``seconds`` by subscription, in order, in at most about ``count`` points each."""
    using = using or log_database()
    bin_seconds = max(SAMPLE_SECONDS, seconds / count)
    params = {
        "seconds": seconds,
        "bin": bin_seconds,
        "longest": max(LONGEST_SILENCE_SECONDS, 2 * bin_seconds),
    }
    found: dict[str, list[Point]] = {}
    for name, *values in fetch_all(using, POINTS, params):
        found.setdefault(name, []).append(Point(*values))
    return found


def span_seconds(*, using: str | None = None) -> float:
    """Return how far back the samples go."""
    using = using or log_database()
    return float(fetch_one(using, SPAN, (KEPT_SECONDS,))[0])


def rates(*, using: str | None = None) -> dict[tuple[str, int], float]:
    """Return events per second over about the last minute, by subscription and partition, where it is known."""
    using = using or log_database()
    rows = fetch_all(using, RATES, (RATE_SECONDS,))
    return {(name, partition): float(rate) for name, partition, rate in rows}
