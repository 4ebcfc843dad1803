"""One read looks at a bounded stretch of the log, so that a rare event in a huge log is found in bounded steps."""

import pytest

from eventsource_app.store import ExpectedVersion, event_store
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.reading import FeedFilter
from tests.builders import NoteTaken, a_store, a_stream, note, payments

pytestmark = pytest.mark.django_db(transaction=True)
RARE = FeedFilter(event_types=("NoteTaken",))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> EventStore:
    """A log whose only note comes after many windows without one."""
    monkeypatch.setattr(event_store, "WINDOW", 10)
    store, stream, rare = a_store(), a_stream(), a_stream()
    store.append(stream, payments(stream, 95), ExpectedVersion.NO_STREAM)
    store.append(rare, [note(rare, "here")], ExpectedVersion.NO_STREAM)
    return store


def test_a_rare_event_is_found_behind_windows_without_one(store: EventStore) -> None:
    assert [recorded.event_type for recorded in store.read_all(event_types=[NoteTaken])] == ["NoteTaken"]


def test_everything_is_found_across_windows(store: EventStore) -> None:
    assert len(store.read_all()) == 96
    assert len(store.read_all(limit=37)) == 37
    assert len(store.read_all(after=-(2**70))) == 96


def test_a_page_says_how_far_it_looked(store: EventStore) -> None:
    bound = store.read_bound().bound
    first = bound - 95
    empty = store.read_feed(first - 1, bound, limit=5, feed_filter=RARE)
    assert (empty.events, empty.through) == ([], first + 9)
    full = store.read_feed(first - 1, bound, limit=5, feed_filter=FeedFilter())
    assert (len(full.events), full.through) == (5, first + 4)
    last = store.read_feed(bound - 3, bound, limit=5, feed_filter=RARE)
    assert (len(last.events), last.through) == (1, bound)
