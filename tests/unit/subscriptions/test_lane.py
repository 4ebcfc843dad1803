"""The read-ahead: in order, complete, and never more than max_in_flight."""

import random
import threading
from datetime import UTC, datetime

import pytest

from eventsource_app.store import RecordedEvent
from eventsource_app.store.reading import FeedFilter
from eventsource_app.subscriptions.lane import Lane, Page
from tests.builders import a_stream, paid_in

STREAM = a_stream()


def events(*positions: int) -> list[RecordedEvent]:
    return [RecordedEvent(position, paid_in(STREAM, position), datetime.now(UTC)) for position in positions]


def a_lane(batch_size: int = 2, max_in_flight: int = 4, position: int = 0) -> Lane:
    return Lane(FeedFilter(), batch_size, max_in_flight, position)


def put(lane: Lane, positions: list[int], through: int) -> None:
    wanted = lane.wants(10**9)
    assert wanted is not None
    after, _, generation = wanted
    lane.put(Page(after, events(*positions), through), generation)


def taken(lane: Lane) -> list[tuple[int, list[int], int]]:
    pages = []
    while (page := lane.take(0)) is not None:
        pages.append((page.after, [each.position for each in page.events], page.through))
    return pages


def test_it_asks_from_its_position_and_goes_on_from_what_was_read() -> None:
    lane = a_lane(position=5)
    wanted = lane.wants(100)
    assert wanted is not None
    assert wanted[0] == 5
    put(lane, [7, 8], 9)
    assert lane.next_after == 9


def test_at_the_bound_it_wants_nothing() -> None:
    lane = a_lane(position=5)
    assert lane.wants(5) is None
    assert lane.wants(4) is None
    assert lane.wants(6) is not None


def test_it_never_asks_for_more_than_there_is_room() -> None:
    lane = a_lane(batch_size=2, max_in_flight=4)
    put(lane, [1, 2, 3, 4], 4)
    assert lane.in_flight == 4
    assert lane.wants(100) is None
    lane.take(0)
    assert lane.wants(100) is None, "what is being handled is still in flight"
    lane.done(4)
    assert lane.wants(100) is not None


def test_pages_come_in_batches_and_in_order() -> None:
    lane = a_lane(batch_size=2, max_in_flight=10)
    put(lane, [1, 2, 3, 4, 5], 8)
    assert taken(lane) == [(0, [1, 2], 2), (2, [3, 4], 4), (4, [5], 8)]


def test_stretches_without_events_are_joined_to_what_follows() -> None:
    lane = a_lane()
    put(lane, [], 50)
    put(lane, [], 90)
    put(lane, [91], 95)
    assert taken(lane) == [(0, [91], 95)]


def test_several_pages_can_be_taken_as_one() -> None:
    lane = a_lane(batch_size=2, max_in_flight=10)
    put(lane, [1, 2, 3, 4, 5], 5)
    page = lane.take(0)
    assert page is not None
    page = lane.take_more(page, 4)
    assert [each.position for each in page.events] == [1, 2, 3, 4]
    assert (page.after, page.through) == (0, 4)
    assert taken(lane) == [(4, [5], 5)]


def test_a_reset_drops_what_was_read_and_what_is_being_read() -> None:
    lane = a_lane()
    put(lane, [1, 2], 2)
    wanted = lane.wants(100)
    assert wanted is not None
    lane.reset(0)
    lane.put(Page(2, events(3), 3), wanted[2])  # read before the reset
    assert taken(lane) == []
    assert (lane.next_after, lane.in_flight) == (0, 0)
    put(lane, [1], 1)
    assert taken(lane) == [(0, [1], 1)]


def test_the_reader_is_told_of_room_and_of_a_reset() -> None:
    lane, told = a_lane(batch_size=2, max_in_flight=4), threading.Event()
    lane.connect(told.set)
    put(lane, [1, 2, 3, 4], 4)
    assert not told.is_set()
    lane.done(4)
    assert told.is_set()
    told.clear()
    lane.reset(0)
    assert told.is_set()


def test_a_page_ends_the_wait_for_it_and_so_does_a_wake_up() -> None:
    lane = a_lane()
    threading.Timer(0.05, put, [lane, [1], 1]).start()
    page = lane.take(60)
    assert page is not None
    threading.Timer(0.05, lane.wake).start()
    assert lane.take(60) is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_sizes_all_events_come_once_in_order_and_in_bounds(seed: int) -> None:
    chance = random.Random(seed)
    batch, bound = chance.randint(1, 5), 200
    limit = batch * chance.randint(1, 4)
    lane = a_lane(batch, limit)
    log = sorted(chance.sample(range(1, bound), 80))
    seen: list[int] = []
    position = 0
    for _ in range(10_000):
        wanted = lane.wants(bound)
        if wanted is not None and chance.random() < 0.6:
            after, size, generation = wanted
            last = min(bound, after + chance.randint(1, 30))
            found = [each for each in log if after < each <= last][:size]
            lane.put(Page(after, events(*found), found[-1] if len(found) == size else last), generation)
            assert lane.in_flight <= limit
        elif (page := lane.take(0)) is not None:
            assert page.after == position, "pages join without a gap"
            assert len(page.events) <= batch
            seen += [each.position for each in page.events]
            position = page.through
            lane.done(len(page.events))
        if position == bound:
            break
    assert seen == log
    assert lane.in_flight == 0
