"""Holding the log against its own promises, page by page, up to where it is safe to read."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from eventsource_app.events.event import ENVELOPE
from eventsource_app.events.registry import EventRegistry, default_registry
from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.fence import read_bound
from eventsource_app.store.paging import page_statement, pages
from eventsource_app.store.recorded_event import COLUMNS, RecordedEvent
from eventsource_app.store.session import Row, fetch_all, fetch_one, log_database

MAX_FINDINGS = 100

# As eventsource_app.store.slots: the last ten bits of sha256 of the id's text.
SLOT: Final = "(((get_byte(sha256({id}::text::bytea), 30) & 3) << 8) | get_byte(sha256({id}::text::bytea), 31))::smallint"
# Versions are unique in a stream, so it is contiguous and in order when each has its predecessor at a lower position.
HAS_PREDECESSOR: Final = (
    "(e.aggregate_version = 1 OR EXISTS (SELECT FROM eventsource_app_event p WHERE p.aggregate_id = e.aggregate_id "
    "AND p.aggregate_type = e.aggregate_type AND p.aggregate_version = e.aggregate_version - 1 "
    "AND p.position < e.position))"
)
READ_PAGE: Final = page_statement(
    f"{COLUMNS}, slot, {SLOT.format(id='aggregate_id')} AS right_slot, {HAS_PREDECESSOR} AS has_predecessor, "  # noqa: S608 - constants only
    "ARRAY(SELECT name FROM unnest(%s::text[]) AS name WHERE data ? name) AS envelope_keys, "
    "octet_length(data::text) + octet_length(metadata::text) AS size",
    "size",
)
HEAD_AND_ENDS: Final = (
    "SELECT s.last_value, (SELECT max(position) FROM eventsource_app_event), (SELECT min(position) FROM eventsource_app_event), "
    "(SELECT seqcache FROM pg_sequence WHERE seqrelid = 'eventsource_app_event_position_seq'::regclass) "
    "FROM eventsource_app_event_position_seq s"
)
CHECKPOINTS: Final = "SELECT subscription, partition, position FROM eventsource_app_checkpoint ORDER BY subscription, partition"
GUARDS: Final = (
    "SELECT name FROM unnest(%s::text[]) AS name WHERE NOT EXISTS (SELECT FROM pg_trigger "
    "WHERE tgrelid = 'eventsource_app_event'::regclass AND tgname = name AND tgenabled IN ('O', 'A')) "
    "UNION ALL SELECT name FROM unnest(%s::text[]) AS name WHERE NOT EXISTS (SELECT FROM pg_constraint "
    "WHERE conrelid = 'eventsource_app_event'::regclass AND conname = name AND convalidated)"
)
TRIGGERS = ["eventsource_append_only", "eventsource_append_only_truncate"]
CONSTRAINTS = [
    "eventsource_app_event_pkey",
    "eventsource_event_stream_version",
    "eventsource_event_id",
    "eventsource_event_slot_range",
    "eventsource_event_version_positive",
]


@dataclass(slots=True)
class Verification:
    """What was found: the first ``MAX_FINDINGS`` as sentences, all of them as a count."""

    event_count: int = 0
    finding_count: int = 0
    findings: list[str] = field(default_factory=list)
    unknown_types: Counter[str] = field(default_factory=Counter)

    def add(self, finding: str) -> None:
        self.finding_count += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)


def verify(
    using: str | None = None,
    *,
    registry: EventRegistry = default_registry,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> Verification:
    """Read the whole log once and check it; events of types that nobody registered are counted, not read.

    ``on_progress`` is called with the number of events of each page.
    """
    using = using or log_database()
    result = Verification()
    for finding in _about_the_tables(using):
        result.add(finding)
    for rows in pages(using, READ_PAGE, read_bound(using).bound, sorted(ENVELOPE)):
        for row in rows:
            _check(row, registry, result)
        result.event_count += len(rows)
        on_progress(len(rows))
    return result


def _about_the_tables(using: str) -> Iterator[str]:
    """Check what no single event shows: the sequence, the checkpoints, the guards."""
    # The head comes last: events may be appended and delivered between any two statements.
    checkpoints = fetch_all(using, CHECKPOINTS)
    head, maximum, minimum, cache = fetch_one(using, HEAD_AND_ENDS)
    if cache != 1:
        yield (
            f"The sequence of positions has CACHE {cache}, so readers can miss events; "
            "run ALTER SEQUENCE eventsource_app_event_position_seq CACHE 1."
        )
    if maximum is not None and maximum > head:
        yield (
            f"The sequence of positions stands at {head}, below the last event's position {maximum}; "
            "stop all writers and set it upward with setval."
        )
    if minimum is not None and minimum < 1:
        yield (
            f"The first event's position is {minimum}, and subscriptions read from 1 on, so none is given it; "
            "restore the log from a backup."
        )
    for subscription, partition, position in checkpoints:
        if position > head:
            yield (
                f"The checkpoint of subscription {subscription!r}, partition {partition}, stands at {position}, "
                f"ahead of the log's last position {head}; rebuild the projection, or set it back with reset_checkpoint."
            )
    for (name,) in fetch_all(using, GUARDS, (TRIGGERS, CONSTRAINTS)):
        yield (
            f"The guard {name!r} of the event table is missing, disabled or not validated; "
            "restore it as the app's migrations make it."
        )


def _check(row: Row, registry: EventRegistry, result: Verification) -> None:
    recorded = RecordedEvent.from_row(row[:14], registry)
    slot, right_slot, has_predecessor, envelope_keys = row[14:18]
    stored, version = recorded.envelope, recorded.aggregate_version
    where = f"Event {stored.event_id} at position {recorded.position}"
    if slot != right_slot:
        result.add(
            f"{where} has slot {slot}, but its aggregate {stored.aggregate_id} belongs to slot {right_slot}."
        )
    if not has_predecessor:
        result.add(
            f"{where} is version {version} of {stored.aggregate_type} {stored.aggregate_id}, "
            f"but version {version - 1} does not come before it."
        )
    if envelope_keys:
        result.add(f"{where} has the envelope's fields {', '.join(envelope_keys)} inside its payload.")
    if recorded.event_type not in registry:
        result.unknown_types[recorded.event_type] += 1
        return
    try:
        recorded.event  # noqa: B018 - decodes
    except EventSourceError as error:
        result.add(f"{where} is unreadable: {error}")
