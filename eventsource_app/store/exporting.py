"""The log as JSON Lines: one event per line, payloads exactly as the database writes them."""

from collections.abc import Callable
from typing import BinaryIO, Final

from eventsource_app.store.fence import read_bound
from eventsource_app.store.paging import page_statement, pages
from eventsource_app.store.session import log_database

# As JSON has a time, in UTC whatever the session's zone, with all digits that are there.
UTC: Final = "left(to_json({0} AT TIME ZONE 'UTC')::text, -1) || 'Z\"'"

# In the order of the keys. The database writes the line, so that nothing is read and written again on the way.
COLUMNS: Final = (
    ("position", "position::text"),
    ("event_id", "to_json(event_id)::text"),
    ("event_type", "to_json(event_type)::text"),
    ("schema_version", "schema_version::text"),
    ("aggregate_type", "to_json(aggregate_type)::text"),
    ("aggregate_id", "to_json(aggregate_id)::text"),
    ("aggregate_version", "aggregate_version::text"),
    ("slot", "slot::text"),
    ("occurred_at", UTC.format("occurred_at")),
    ("recorded_at", UTC.format("recorded_at")),
    ("correlation_id", "coalesce(to_json(correlation_id)::text, 'null')"),
    ("causation_id", "coalesce(to_json(causation_id)::text, 'null')"),
    ("actor_id", "coalesce(to_json(actor_id)::text, 'null')"),
    ("metadata", "metadata::text"),
    ("data", "data::text"),
)
LINE: Final = " || ".join(
    f"""'{"{" if number == 0 else ","}"{name}":' || {sql}""" for number, (name, sql) in enumerate(COLUMNS)
)
READ_PAGE: Final = page_statement(f"position, {LINE} || '}}' AS line", "octet_length(line)")


def export_events(
    file: BinaryIO, using: str | None = None, *, on_progress: Callable[[int], None] = lambda _count: None
) -> int:
    """Write every event that is safe to read now, in order of position; return how many.

    ``on_progress`` is called with the number of events of each page.
    """
    using = using or log_database()
    count = 0
    for rows in pages(using, READ_PAGE, read_bound(using).bound):
        file.write("".join(f"{row[1]}\n" for row in rows).encode())
        count += len(rows)
        on_progress(len(rows))
    return count
