"""The log at the desk: browsed by keys alone, searched by ids, one stream with its states, one request with what it caused."""

import re
from datetime import datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from eventsource_app.admin import event_search, stream_page
from eventsource_app.admin.correlation_page import tree
from eventsource_app.aggregates import replay
from eventsource_app.models import Checkpoint, DeadLetter, Event, Snapshot
from orders.commands import PlaceOrder, ShipOrder
from orders.services import place_order, ship_order
from projections.models import OrderSummary
from tests.integration.desk import said, staff, text

pytestmark = pytest.mark.django_db
LIST = "admin:eventsource_app_event_changelist"


@pytest.fixture
def desk(client: Client) -> Client:
    return staff(client, "view_event", "view_deadletter")


@pytest.fixture
def order() -> UUID:
    placed = place_order(PlaceOrder("cust-1", Decimal("5.00")))
    ship_order(ShipOrder(placed.order_id, "<script>alert(1)</script>"))
    return placed.order_id


def event(position: int, **values: Any) -> Event:
    defaults: dict[str, Any] = {
        "event_id": uuid4(),
        "event_type": "A",
        "aggregate_type": "B",
        "aggregate_id": uuid4(),
        "aggregate_version": 1,
        "slot": 0,
        "occurred_at": timezone.now(),
        "data": {},
    }
    return Event.objects.create(position=position, **{**defaults, **values})


def positions(response: Any) -> list[int]:
    return [each.position for each in response.context["page"].events]


def stream_address(order_id: UUID, aggregate_type: str = "Order") -> str:
    return reverse("admin:eventsource_app_event_stream", args=[aggregate_type, order_id])


# Names


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", "a/b", "//", " ", "a?b#c%2f"])
def test_a_stream_is_found_whatever_its_type_is_called(desk: Client, name: str) -> None:
    """The log keeps any text as a type: one event must not take the pages from all others."""
    order_id = uuid4()
    event(7, aggregate_type=name, aggregate_id=order_id)
    assert stream_address(order_id, name) in unescape(text(desk.get(reverse(LIST))))
    assert desk.get(stream_address(order_id, name)).context["page"].stream.aggregate_type == name


# Browsing


@pytest.mark.parametrize(
    ("zone", "at"), [("Asia/Tokyo", "9999-12-31T23:59:59"), ("America/Los_Angeles", "0001-01-01T00:00:00")]
)
def test_a_time_that_the_sites_zone_has_not_breaks_no_page(
    client: Client, settings: Settings, zone: str, at: str
) -> None:
    settings.TIME_ZONE = zone
    time = datetime.fromisoformat(f"{at}Z")
    order_id = uuid4()
    event(7, aggregate_id=order_id, occurred_at=time, recorded_at=time, correlation_id="c")
    OrderSummary.objects.create(
        order_id=order_id, customer_id="a", total=1, status="created", version=1, position=7, created_position=7,
        created_at=time,
    )  # fmt: skip
    letter = DeadLetter.objects.create(
        subscription="orders", position=7, aggregate_type="B", aggregate_id=order_id, event_type="A",
        event_id=uuid4(), slot=0,
    )  # fmt: skip
    desk = staff(client, "view_event", "view_deadletter", "view_ordersummary")
    for address in (
        reverse(LIST),
        reverse("admin:eventsource_app_event_change", args=[7]),
        stream_address(order_id, "B"),
        f"{reverse('admin:eventsource_app_event_correlation')}?id=c",
        reverse("admin:eventsource_app_deadletter_change", args=[letter.pk]),
        reverse("admin:projections_ordersummary_changelist"),
        reverse("admin:projections_ordersummary_change", args=[order_id]),
    ):
        assert f"{at.replace('T', ' ')} UTC" in text(desk.get(address))


def test_pages_are_newest_first_and_lead_back_and_forth(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "PER_PAGE", 2)
    for position in (2, 3, 5, 8, 9):
        event(position)
    first = desk.get(reverse(LIST))
    assert positions(first) == [9, 8]
    assert "Newer" not in text(first)
    second = desk.get(reverse(LIST), {"before": first.context["page"].before})
    assert positions(second) == [5, 3]
    last = desk.get(reverse(LIST), {"before": second.context["page"].before})
    assert positions(last) == [2]
    assert last.context["page"].before is None
    assert positions(desk.get(reverse(LIST), {"after": last.context["page"].after})) == [5, 3]
    newest = desk.get(reverse(LIST), {"after": second.context["page"].after})
    assert positions(newest) == [9, 8]
    assert newest.context["page"].after is None


def test_a_rare_type_is_looked_for_in_stretches(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_search, "WINDOW", 10)
    event(3, event_type="OrderShipped")
    for position in range(20, 40):
        event(position)
    page = desk.get(reverse(LIST), {"event_type": "OrderShipped"})
    assert positions(page) == []
    assert "Looked down to position 30" in text(page)
    seen: list[int] = []
    while (before := page.context["page"].before) is not None:
        page = desk.get(reverse(LIST), {"event_type": "OrderShipped", "before": before})
        seen += positions(page)
    assert seen == [3]


@pytest.mark.parametrize("query", [{}, {"before": "5"}, {"after": "3"}, {"event_type": "A"}, {"before": "x"}])
def test_no_page_counts_compares_or_skips(desk: Client, query: dict[str, str]) -> None:
    for position in range(2, 9):
        event(position)
    with CaptureQueriesContext(connection) as queries:
        assert desk.get(reverse(LIST), query).status_code == 200
    log = [q["sql"] for q in queries if "eventsource_app_event" in q["sql"]]
    assert 1 <= len(log) <= 2
    assert all("LIMIT" in sql for sql in log)
    assert not any(word in sql for sql in log for word in ("DISTINCT", "COUNT(", "OFFSET"))


# Searching


def test_an_event_an_aggregate_and_a_correlation_are_found(desk: Client) -> None:
    aggregate = uuid4()
    found = event(4, aggregate_id=aggregate, correlation_id="req/1 & <b>")
    event(5, aggregate_id=aggregate, aggregate_version=2, correlation_id="req/1 & <b>")
    event(6, aggregate_id=aggregate, aggregate_type="C")
    event(7)
    by_event = desk.get(reverse(LIST), {"q": f" {found.event_id} "}).context["found"]
    assert (by_event.event, by_event.streams, by_event.correlated) == (found, (), ())
    by_aggregate = desk.get(reverse(LIST), {"q": str(aggregate)}).context["found"]
    assert [each.position for each in by_aggregate.streams] == [5, 6]
    by_correlation = desk.get(reverse(LIST), {"q": "req/1 & <b>"})
    assert [each.position for each in by_correlation.context["found"].correlated] == [4, 5]
    assert "<b>" not in text(by_correlation)


def test_what_is_not_there_is_said(desk: Client) -> None:
    assert "has the id “nothing”" in text(desk.get(reverse(LIST), {"q": "nothing"}))
    assert "has the id" in text(desk.get(reverse(LIST), {"q": str(uuid4())}))
    assert said(desk.get(reverse(LIST), {"q": "77"}, follow=True))[0].startswith(
        "warning: There is no event at position 77"
    )
    assert desk.get(reverse(LIST), {"q": "9" * 40}, follow=True).status_code == 200


def test_a_number_is_a_position(desk: Client) -> None:
    event(7)
    page = desk.get(reverse(LIST), {"q": "7"})
    assert page["Location"] == reverse("admin:eventsource_app_event_change", args=[7])


def test_a_search_that_takes_too_long_is_ended_with_a_sentence(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "SEARCH_SECONDS", "0.05")
    monkeypatch.setattr(
        event_search,
        "CORRELATED",
        "SELECT 1 AS position FROM pg_sleep(9) WHERE %s <> '' LIMIT %s",
    )
    told = said(desk.get(reverse(LIST), {"q": "slow"}, follow=True))
    assert told[0].startswith("error: The search took longer than")


def test_the_correlation_index_is_there_and_takes_any_text() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = 'eventsource_event_correlation'")
        (definition,) = cursor.fetchone()
    assert "brin" in definition
    assert "text_bloom_ops" in definition


# One stream


def test_the_state_at_any_version_and_what_changed(desk: Client, order: UUID) -> None:
    page = desk.get(stream_address(order), {"version": 1})
    shown = page.context["page"]
    assert (shown.last_version, shown.selected, shown.state["status"]) == (2, 1, "created")
    assert [change.path for change in shown.changes] == ["customer_id", "total", "status"]
    latest = desk.get(stream_address(order)).context["page"]
    assert (latest.selected, latest.state["status"]) == (2, "shipped")
    assert [(change.path, change.before) for change in latest.changes] == [
        ("status", "created"),
        ("tracking_number", None),
    ]
    assert [len(moment.changes or ()) for moment in latest.moments] == [3, 2]


def test_stored_markup_is_text(desk: Client, order: UUID) -> None:
    html = text(desk.get(stream_address(order)))
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert "<script>alert" not in html


def test_a_long_stream_comes_in_pages(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_page, "PER_PAGE", 3)
    aggregate = uuid4()
    for version in range(1, 9):
        event(version + 1, aggregate_id=aggregate, aggregate_version=version)
    page = desk.get(stream_address(aggregate, "B"), {"version": 5}).context["page"]
    assert [moment.event.aggregate_version for moment in page.moments] == [4, 5, 6]
    assert (page.earlier, page.later, page.selected) == (3, 7, 5)
    beyond = desk.get(stream_address(aggregate, "B"), {"version": 99}).context["page"]
    assert (beyond.selected, beyond.earlier, beyond.later) == (8, 6, None)


def test_an_unknown_aggregate_type_is_a_sentence(desk: Client) -> None:
    aggregate = uuid4()
    event(2, aggregate_id=aggregate)
    html = text(desk.get(stream_address(aggregate, "B")))
    assert "No aggregate class is registered for type &#x27;B&#x27;" in html
    assert "Time line" in html


def test_an_unreadable_event_ends_the_states_and_not_the_page(desk: Client, order: UUID) -> None:
    event(50, aggregate_id=order, aggregate_type="Order", aggregate_version=3, event_type="OrderVanished")
    page = desk.get(stream_address(order), {"version": 3})
    assert "The state from version 3 on cannot be told" in text(page)
    assert "OrderVanished" in text(page)
    assert desk.get(stream_address(order), {"version": 2}).context["page"].state["status"] == "shipped"


def test_states_beyond_what_a_page_may_take_are_not_replayed(
    desk: Client, order: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST_VERSIONS", 1)
    assert "would take too long for a page" in text(desk.get(stream_address(order)))


def test_where_each_subscription_is_with_the_stream(desk: Client, order: UUID) -> None:
    first, second = Event.objects.order_by("position")
    Checkpoint.objects.create(subscription="ahead", position=second.position)
    Checkpoint.objects.create(subscription="behind", position=first.position)
    Checkpoint.objects.create(subscription="new", position=0)
    for partition in range(2):
        Checkpoint.objects.create(
            subscription="parted", partition=partition, partition_count=2, position=second.position
        )
    letter = DeadLetter.objects.create(
        subscription="ahead", position=first.position, event_id=first.event_id, event_type="OrderCreated",
        aggregate_type="Order", aggregate_id=order, slot=first.slot, error_type="E", error_message="no",
        category="application", severity="medium",
    )  # fmt: skip
    page = desk.get(stream_address(order))
    places = {
        place.subscription: (place.word, place.version, place.behind_count)
        for place in page.context["page"].places
    }
    assert places == {
        "ahead": ("waits", 2, 0),
        "behind": ("behind", 1, 1),
        "new": ("behind", 0, 2),
        "parted": ("caught up", 2, 0),
    }
    assert reverse("admin:eventsource_app_deadletter_change", args=[letter.pk]) in text(page)


def test_the_snapshot_is_named(desk: Client, order: UUID) -> None:
    assert "It has no snapshot" in text(desk.get(stream_address(order)))
    Snapshot.objects.create(
        aggregate_type="Order", aggregate_id=order, version=1, state="{}", event_id=uuid4(), position=2
    )
    assert "is of version 1" in text(desk.get(stream_address(order)))


def test_the_statements_of_a_stream_do_not_grow(desk: Client, order: UUID) -> None:
    for name in "abcdefgh":
        Checkpoint.objects.create(subscription=name)
    with CaptureQueriesContext(connection) as queries:
        desk.get(stream_address(order))
    assert len(queries) <= 12
    assert desk.get(stream_address(uuid4())).status_code == 404


# One request


def test_what_one_request_caused_is_a_tree(desk: Client) -> None:
    root = event(2, correlation_id="r")
    child = event(4, correlation_id="r", causation_id=root.event_id)
    sibling = event(5, correlation_id="r", causation_id=root.event_id)
    grandchild = event(6, correlation_id="r", causation_id=child.event_id)
    stranger = event(3, correlation_id="r", causation_id=uuid4())
    event(7, correlation_id="other")
    page = desk.get(reverse("admin:eventsource_app_event_correlation"), {"id": "r"})
    shown = [(node.event, node.depth) for node in page.context["page"].nodes]
    assert shown == [(root, 0), (child, 1), (grandchild, 2), (sibling, 1), (stranger, 0)]
    assert "an event of another request" in text(page)
    assert desk.get(reverse("admin:eventsource_app_event_correlation"), {"id": "none"}).status_code == 404


def test_causes_that_go_in_a_circle_lose_no_event() -> None:
    one, other = Event(position=2, event_id=uuid4()), Event(position=3, event_id=uuid4())
    one.causation_id, other.causation_id = other.event_id, one.event_id
    assert [(node.event, node.depth) for node in tree([one, other])] == [(one, 0), (other, 1)]


def test_letters_are_shown_beside_what_they_are_about(desk: Client) -> None:
    stuck = event(2, correlation_id="r")
    Checkpoint.objects.create(subscription="orders", position=9)
    letter = DeadLetter.objects.create(
        subscription="orders", position=2, event_id=stuck.event_id, event_type="A", aggregate_type="B",
        aggregate_id=stuck.aggregate_id, slot=0, error_type="E", error_message="no", category="application", severity="low",
    )  # fmt: skip
    html = text(desk.get(reverse("admin:eventsource_app_event_correlation"), {"id": "r"}))
    assert reverse("admin:eventsource_app_deadletter_change", args=[letter.pk]) in html


def test_a_huge_request_is_cut(desk: Client) -> None:
    now = timezone.now()
    Event.objects.bulk_create(
        Event(
            position=position, event_id=uuid4(), event_type="A", aggregate_type="B", aggregate_id=uuid4(),
            aggregate_version=1, slot=0, occurred_at=now - timedelta(seconds=1), data={}, correlation_id="r",
        )
        for position in range(2, 230)
    )  # fmt: skip
    page = desk.get(reverse("admin:eventsource_app_event_correlation"), {"id": "r"})
    assert len(page.context["page"].nodes) == 200
    assert "There are more" in text(page)


def test_the_links_lead_on_where_the_site_writes_numbers_with_separators(
    desk: Client, settings: Settings
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    stream = uuid4()
    for number in range(1_000, 1_060):
        event(number, aggregate_id=stream, aggregate_version=number)
    newest = desk.get(reverse(LIST))
    older = re.findall(r'href="([?]before=[^"]*)"', text(newest))
    assert older == ["?before=1010"]
    newer = re.findall(r'href="([?]after=[^"]*)"', text(desk.get(reverse(LIST) + older[0])))
    assert newer == ["?after=1009"]
    assert "/?version=1059" in text(newest)

    line = text(desk.get(stream_address(stream, "B")))
    assert {*re.findall(r'href="[?]version=([^"]*)"', line)} == {*map(str, range(1_050, 1_060))}
    early = text(desk.get(stream_address(stream, "B") + "?version=1010"))
    assert {"1000", "1051"} <= {*re.findall(r'href="[?]version=([^"]*)"', early)}
