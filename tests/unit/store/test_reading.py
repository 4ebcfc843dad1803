"""The feed's statement has just the conditions that a reader asks for, with their values in its order."""

import pytest

from eventsource_app.store.event_store import type_names
from eventsource_app.store.reading import FeedFilter, feed_statement
from tests.builders import MoneyPaidIn

FILTERS = [
    FeedFilter(),
    FeedFilter(event_types=("A",)),
    FeedFilter(aggregate_types=("B", "C")),
    FeedFilter(partition=(1, 4)),
    FeedFilter(partition=(0, 1)),
    FeedFilter(("A",), ("B",), (3, 4)),
]


@pytest.mark.parametrize("feed_filter", FILTERS, ids=str)
def test_there_is_a_value_for_every_placeholder(feed_filter: FeedFilter) -> None:
    placeholders = feed_statement(feed_filter).replace("%%", "").count("%s")
    assert placeholders == len((0, 0, *feed_filter.params(), 0))


def test_one_partition_of_one_is_no_condition() -> None:
    assert feed_statement(FeedFilter(partition=(0, 1))) == feed_statement(FeedFilter())


@pytest.mark.parametrize("partition", [(0, 0), (0, 3), (4, 4), (-1, 2), (0, 2048)])
def test_an_impossible_partition_is_refused(partition: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"Partition {partition[0]} of {partition[1]} cannot be"):
        FeedFilter(partition=partition)


def test_types_are_given_by_name_or_by_class() -> None:
    assert type_names(["Other", MoneyPaidIn]) == ("Other", "MoneyPaidIn")
    assert type_names([]) == ()
    assert type_names(None) is None
