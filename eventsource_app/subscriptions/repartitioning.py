"""Changing the number of partitions: all of them are brought to one position, then the rows are written anew.

Exactly once is kept because nobody else can move a row meanwhile: under the locks of all rows, this process takes every
lease (a higher epoch, so that running workers step back), delivers what the slower partitions have not seen up to the
fastest one's position through the ordinary delivery, and rewrites the rows in one transaction that checks that it still
has every lease. If it dies, the leases expire and workers go on with the old partitions. Dead letters are found by the
aggregate's slot, so they need no change.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError

from eventsource_app.store.event_store import EventStore
from eventsource_app.store.session import execute, fetch_all
from eventsource_app.subscriptions import checkpoints
from eventsource_app.subscriptions.attempts import Limits
from eventsource_app.subscriptions.checkpoints import Lease
from eventsource_app.subscriptions.circuit_breaker import CircuitBreaker
from eventsource_app.subscriptions.config import MAX_PARTITIONS, ConfigurationError
from eventsource_app.subscriptions.control import (
    ControlError,
    ImpossibleNumberError,
    Subscriptions,
    check_code,
    declared,
    desk_callbacks,
    locked_rows,
    record,
)
from eventsource_app.subscriptions.delivery import Delivery
from eventsource_app.subscriptions.errors import describe
from eventsource_app.subscriptions.interruptions import Interruption
from eventsource_app.subscriptions.lane import Page
from eventsource_app.subscriptions.registry import Subscription

# Renewed for all rows before an attempt, which ends after a third of it, once a twelfth has gone by.
LEASE_SECONDS: Final = 60.0
TAKE_ALL: Final = """
UPDATE eventsource_app_checkpoint SET owner = %s, epoch = epoch + 1, updated_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + make_interval(secs => %s)
 WHERE subscription = %s
RETURNING id, subscription, partition, partition_count, epoch, position
"""
# Counters are sums over the partitions, so they move to the first one; what is one for all is the same in each.
MERGE: Final = """
WITH old AS (DELETE FROM eventsource_app_checkpoint WHERE subscription = %(name)s RETURNING *)
SELECT max(epoch) + 1, max(position), max(parked_generation) + 1, max(state), max(state_reason), max(state_changed_at),
       max(state_changed_by), max(handled_types), max(rebuild_target), min(rebuild_started_at), max(breaker),
       max(breaker_opened_at), sum(events_processed)::bigint, sum(events_failed)::bigint, sum(retry_count)::bigint,
       sum(batch_count)::bigint, (array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1], max(last_error_at),
       max(last_event_at), min(started_at), min(created_at)
  FROM old
"""
INSERT: Final = """
INSERT INTO eventsource_app_checkpoint (
    subscription, partition, partition_count, epoch, position, parked_generation, state, state_reason, state_changed_at,
    state_changed_by, handled_types, rebuild_target, rebuild_started_at, breaker, breaker_opened_at, events_processed,
    events_failed, retry_count, batch_count, last_error, last_error_at, last_event_at, started_at, created_at,
    unclean_takeover_count, careful_death_count)
SELECT %s, part, %s, %s, %s, %s, %s, %s, %s, %s, %s::varchar[], %s, %s, %s, %s,
       CASE WHEN part = 0 THEN %s::bigint ELSE 0 END, CASE WHEN part = 0 THEN %s::bigint ELSE 0 END,
       CASE WHEN part = 0 THEN %s::bigint ELSE 0 END, CASE WHEN part = 0 THEN %s::bigint ELSE 0 END,
       %s, %s, %s, %s, %s, 0, 0
  FROM generate_series(0, %s - 1) AS part
"""


@dataclass(frozen=True, slots=True)
class Repartition:
    """The partitions before and now, and the position that all of them start from."""

    subscription: str
    previous_count: int
    partition_count: int
    position: int

    @property
    def changed(self) -> bool:
        return self.partition_count != self.previous_count


def change_partitions(
    name: str,
    to: int,
    who: str,
    *,
    store: EventStore | None = None,
    subscriptions: Subscriptions | None = None,
) -> Repartition:
    """Give a subscription ``to`` partitions (a power of two up to 1,024), exactly once, while workers run.

    They step back, and take the new partitions within seconds. Raises ``ControlError`` when the partitions stand at
    different positions and cannot be brought together: the subscription is paused or stopped, or its breaker opens.
    """
    if not (1 <= to <= MAX_PARTITIONS and to & (to - 1) == 0):
        raise ImpossibleNumberError(f"{to} partitions cannot be: use a power of two up to {MAX_PARTITIONS}.")
    store = store or EventStore()
    subscription = declared(name, subscriptions)
    try:
        subscription.check_partitions(to)
    except ConfigurationError as error:
        raise ControlError(str(error)) from error
    check_code(store.using, subscription)
    with _all_leases(store.using, name, who) as leases:
        target = max(lease.position for lease in leases)
        if len(leases) == to:
            return Repartition(name, to, to, target)
        renew_all = _renewal(store.using, leases)
        for lease in leases:
            _drain(store, subscription, lease, target, renew_all)
        _rewrite(store.using, name, leases, target, to)
    result = Repartition(name, len(leases), to, target)
    record("change_partitions", who, result)
    return result


@contextmanager
def _all_leases(using: str, name: str, who: str) -> Iterator[list[Lease]]:
    """Own every partition, whoever did before; whatever is left of it is given back."""
    with locked_rows(using, name):
        rows = fetch_all(using, TAKE_ALL, (f"change_partitions by {who}"[:200], LEASE_SECONDS, name))
        leases = [Lease(*row) for row in sorted(rows, key=lambda row: int(row[2]))]
    try:
        yield leases
    except (Interruption, DatabaseError) as error:
        raise ControlError(f"The partitions of {name} stay as they are: {describe(error)}") from error
    finally:
        with suppress(DatabaseError):  # the leases expire by themselves
            for lease in leases:
                checkpoints.release(using, lease)


def _drain(
    store: EventStore, subscription: Subscription, lease: Lease, target: int, renew_all: Callable[[], None]
) -> None:
    """Deliver to one partition what lies between its position and the target; no fence is needed below a checkpoint."""
    delivery = Delivery(
        subscription,
        store.using,
        lease,
        Limits(LEASE_SECONDS, lambda: False, renew_all),
        desk_callbacks(),
        CircuitBreaker(subscription.config),
    )
    feed_filter = subscription.feed_filter(lease.partition, lease.partition_count)
    after = delivery.position
    while after < target:
        page = store.read_feed(after, target, subscription.config.batch_size, feed_filter)
        delivery.deliver(Page(after, page.events, page.through, at_end=page.through >= target))
        # The checkpoint may be before it, until a later page tells what a run of failures means.
        after = page.through


def _renewal(using: str, leases: list[Lease]) -> Callable[[], None]:
    """Return what renews all leases when it is time: before each attempt, it would be partitions by partitions statements."""
    renewed_at = time.monotonic()

    def renew_all() -> None:
        nonlocal renewed_at
        if time.monotonic() - renewed_at < LEASE_SECONDS / 12:
            return
        renewed_at = time.monotonic()
        for lease in leases:
            checkpoints.renew(using, lease, LEASE_SECONDS)

    return renew_all


def _rewrite(using: str, name: str, leases: list[Lease], target: int, to: int) -> None:
    with locked_rows(using, name) as rows:
        for lease in leases:
            checkpoints.lock(using, lease)
        if any(row.position != target for row in rows):
            raise Interruption(f"somebody moved a checkpoint of {name}; try again.")
        merged = fetch_all(using, MERGE, {"name": name})[0]
        execute(using, INSERT, (name, to, *merged, to))
