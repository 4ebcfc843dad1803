"""Reading: one stream by versions, or the whole log by positions up to the fence."""

from dataclasses import dataclass
from functools import lru_cache

from eventsource_app.store.hot_statements import HotStatement
from eventsource_app.store.recorded_event import COLUMNS, COLUMNS_OF_STREAM

# One read looks at this many positions at most, so that a rare type in a huge log cannot meet the statement timeout.
WINDOW = 50_000

_OF_STREAM = "FROM eventsource_app_event WHERE aggregate_id = $1::uuid AND aggregate_type = $2::text"
REPLAY = HotStatement(
    b"eventsource_replay", f"SELECT {COLUMNS_OF_STREAM} {_OF_STREAM} ORDER BY aggregate_version".encode()
)
READ_STREAM = HotStatement(
    b"eventsource_read_stream",
    (
        f"SELECT {COLUMNS} {_OF_STREAM} AND aggregate_version >= $3::integer AND aggregate_version <= $4::integer "
        "ORDER BY aggregate_version LIMIT $5::bigint"
    ).encode(),
)
READ_FOLLOWERS = (
    f"SELECT {COLUMNS} FROM eventsource_app_event WHERE aggregate_id = %s AND aggregate_type = %s "  # noqa: S608
    "AND position > %s AND position <= %s AND (%s::text[] IS NULL OR event_type = ANY(%s::text[])) "
    "ORDER BY aggregate_version LIMIT %s"
)
STREAM_VERSION = (
    "SELECT aggregate_version FROM eventsource_app_event WHERE aggregate_id = %s AND aggregate_type = %s "
    "ORDER BY aggregate_version DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which events of the log a reader asks for; ``None`` is no restriction.

    ``partition`` is (index, count) with a power of two as the count: the aggregates whose slot belongs to it.
    """

    event_types: tuple[str, ...] | None = None
    aggregate_types: tuple[str, ...] | None = None
    partition: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.partition is None:
            return
        index, count = self.partition
        if not (1 <= count <= 1024 and count & (count - 1) == 0 and 0 <= index < count):
            raise ValueError(
                f"Partition {index} of {count} cannot be: the count is a power of two up to 1024, the index below it."
            )

    def params(self) -> tuple[object, ...]:
        """The values for ``read_feed_sql``'s conditions, in their order."""
        types = () if self.event_types is None else (list(self.event_types),)
        aggregates = () if self.aggregate_types is None else (list(self.aggregate_types),)
        partition = () if self.partition in (None, (0, 1)) else (self.partition[1], self.partition[0])
        return (*types, *aggregates, *partition)


@lru_cache(maxsize=8)
def read_feed_sql(by_event_type: bool, by_aggregate_type: bool, by_partition: bool) -> str:
    """Return the feed's statement with just the conditions that are needed: after, up to, conditions, limit."""
    conditions = "".join(
        condition
        for wanted, condition in (
            (by_event_type, "AND event_type = ANY(%s::text[]) "),
            (by_aggregate_type, "AND aggregate_type = ANY(%s::text[]) "),
            (by_partition, "AND slot %% %s = %s "),
        )
        if wanted
    )
    return (
        f"SELECT {COLUMNS} FROM eventsource_app_event WHERE position > %s AND position <= %s "  # noqa: S608
        f"{conditions}ORDER BY position LIMIT %s"
    )


def feed_statement(feed_filter: FeedFilter) -> str:
    """Return the statement for a filter."""
    return read_feed_sql(
        feed_filter.event_types is not None,
        feed_filter.aggregate_types is not None,
        feed_filter.partition not in (None, (0, 1)),
    )
