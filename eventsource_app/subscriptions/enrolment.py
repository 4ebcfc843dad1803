"""Before a subscription may run: its rows exist, and nothing it handles lies behind its checkpoint unseen."""

from django.db import transaction

from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.session import execute, fetch_all
from eventsource_app.subscriptions import checkpoints
from eventsource_app.subscriptions.checkpoints import CheckpointRow
from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.partitions import Pin
from eventsource_app.subscriptions.registry import Subscription

# Whoever owns a partition steps back: it would pass over the new types, and may not take the lease again.
SET_TYPES = """
UPDATE eventsource_app_checkpoint SET handled_types = %s::varchar[], owner = NULL, lease_expires_at = NULL,
    epoch = epoch + 1, updated_at = clock_timestamp() WHERE subscription = %s
"""
PASSED_EVENT = """
SELECT event_type, position FROM eventsource_app_event
 WHERE position > %s AND position <= %s AND event_type = ANY(%s::text[]) ORDER BY position LIMIT 1
"""


class SubscriptionRefusedError(EventSourceError):
    """A subscription that must not run as things are; the sentence says what an operator can do."""


def enrol(store: EventStore, subscription: Subscription, pin: Pin | None = None) -> list[CheckpointRow]:
    """Return the subscription's checkpoint rows, made where there are none; raises ``SubscriptionRefusedError``."""
    name, types = subscription.name, subscription.event_types
    rows = checkpoints.find(store.using, [name])
    if not rows:
        position = _first_position(store, subscription.config.start_from)
        checkpoints.create(store.using, name, subscription.config.partitions, position, types)
        rows = checkpoints.find(store.using, [name])
    _check_not_ahead(store, name, rows)
    _check_pin(name, rows, pin)
    _check_split(subscription, rows)
    _check_types(store, name, rows, types)
    return rows


def may_run(row: CheckpointRow, subscription: Subscription) -> bool:
    """Say whether this code handles all that the row lists; an old pod during a rollout does not."""
    if row.handled_types is None or subscription.event_types is None:
        return subscription.event_types is None or row.handled_types is not None
    return set(row.handled_types) <= set(subscription.event_types)


def handles_too_few(name: str) -> str:
    """Return what to say of a subscription that this code may not run, and what to do about it."""
    return (
        f"This process handles fewer event types than {name} did last; use the newer release, or say "
        f"`manage.py accept_event_types {name}` if they were dropped on purpose."
    )


def _first_position(store: EventStore, start_from: str | int) -> int:
    if start_from == "end":
        return store.read_bound().bound
    return start_from if isinstance(start_from, int) else 0


def _check_not_ahead(store: EventStore, name: str, rows: list[CheckpointRow]) -> None:
    head = store.head_position()
    ahead = max(row.position for row in rows)
    if ahead > head:
        raise SubscriptionRefusedError(
            f"The checkpoint of {name} is at {ahead}, ahead of the log's last position {head}: the log was probably restored "
            f"from a backup; run `manage.py rebuild_projection {name}`."
        )


def _check_types(
    store: EventStore, name: str, rows: list[CheckpointRow], types: tuple[str, ...] | None
) -> None:
    known = rows[0].handled_types
    if types is None or known is None or set(types) <= set(known):
        return
    new = sorted(set(types) - set(known))
    seen = max(row.position for row in rows)
    _refuse_passed(store, name, new, 0, seen)  # may take a while, so nobody waits for it
    with transaction.atomic(using=store.using):
        locked = checkpoints.lock_all(store.using, name)
        if not locked or locked[0].handled_types != known:
            return  # somebody else has just done it, or is doing something else to them
        _refuse_passed(store, name, new, seen, max(row.position for row in locked))
        execute(store.using, SET_TYPES, (sorted(types), name))


def _refuse_passed(store: EventStore, name: str, new: list[str], after: int, through: int) -> None:
    passed = fetch_all(store.using, PASSED_EVENT, (after, through, new))
    if passed:
        event_type, position = passed[0]
        raise SubscriptionRefusedError(
            f"{name} now handles {', '.join(new)}, but its checkpoint has passed such events (the first: {event_type} at "
            f"{position}); run `manage.py rebuild_projection {name}`, or `manage.py accept_event_types {name}` to go on "
            "without them."
        )


def _check_pin(name: str, rows: list[CheckpointRow], pin: Pin | None) -> None:
    if pin is None:
        return
    try:
        pin.allows(name, 0, rows[0].partition_count)
    except ConfigurationError as error:
        raise SubscriptionRefusedError(str(error)) from error


def _check_split(subscription: Subscription, rows: list[CheckpointRow]) -> None:
    """The projection can be split as the database has it: it may have been split before it said how far it can be."""
    name = subscription.name
    try:
        subscription.check_partitions(rows[0].partition_count)
    except ConfigurationError as error:
        raise SubscriptionRefusedError(
            f"{error} Run `manage.py change_partitions {name} --to {subscription.projection.max_partitions}` and then "
            f"`manage.py rebuild_projection {name}`, since rows may be wrong."
        ) from error
