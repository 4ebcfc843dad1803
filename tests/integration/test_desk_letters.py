"""Dead letters at the desk: found by what failed, shown with all that belongs to them, and acted on by those who may."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from eventsource_app.admin import operating
from eventsource_app.admin.operating import VERBS
from eventsource_app.models import Checkpoint, DeadLetter
from tests.integration.desk import said, staff, text
from tests.integration.poisoned_orders import PoisonedOrders

pytestmark = pytest.mark.django_db(transaction=True)
LETTERS = "admin:eventsource_app_deadletter_changelist"
LETTER = "admin:eventsource_app_deadletter_change"


@pytest.fixture(autouse=True)
def _no_automatic_retries(settings: Any) -> None:
    later = {"orders": {"initial_retry_delay": 3600, "max_retry_delay": 3600}}
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "SUBSCRIPTIONS": later}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> PoisonedOrders:
    return PoisonedOrders(monkeypatch, count=2)


def act(desk: Client, page: str, action: str, *rows: Any, **data: str) -> Any:
    chosen = {"action": action, "index": "0", "_selected_action": [row.pk for row in rows]}
    return desk.post(reverse(page), {**chosen, **data}, follow=True)


def do(desk: Client, letter: DeadLetter, slug: str, **data: str) -> Any:
    address = reverse("admin:eventsource_app_deadletter_verb", args=[letter.pk, slug])
    return desk.post(address, data, follow=True)


def offered(desk: Client, page: str) -> set[str]:
    form = desk.get(reverse(page)).context["action_form"]
    return {name for name, _ in form.fields["action"].choices if name} if form else set()


@pytest.mark.parametrize(
    ("permission", "actions"),
    [
        ("view_deadletter", set()),
        ("retry_deadletter", {"retry", "retry_aggregate"}),
        ("discard_deadletter", {"discard"}),
    ],
)
def test_each_action_on_letters_is_offered_to_those_who_may(
    client: Client, poisoned: PoisonedOrders, permission: str, actions: set[str]
) -> None:
    desk = staff(client, *{"view_deadletter", permission})
    assert offered(desk, LETTERS) == actions


@pytest.mark.parametrize("action", ["retry", "retry_aggregate", "discard"])
def test_who_may_only_look_changes_no_letter(client: Client, poisoned: PoisonedOrders, action: str) -> None:
    desk = staff(client, "view_deadletter")
    poisoned.fix()
    before = list(DeadLetter.objects.values())
    act(desk, LETTERS, action, *poisoned.letters, confirmed="yes", reason="because")
    assert list(DeadLetter.objects.values()) == before
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("permissions", [(), ("retry_deadletter", "discard_deadletter")])
def test_without_the_right_to_look_there_is_no_page(
    client: Client, poisoned: PoisonedOrders, permissions: tuple[str, ...]
) -> None:
    desk = staff(client, *permissions)
    poisoned.fix()
    assert desk.get(reverse(LETTERS)).status_code == 403
    assert act(desk, LETTERS, "retry", *poisoned.letters).status_code == 403
    assert {letter.state for letter in poisoned.letters} == {"parked"}


def told(response: Any) -> list[tuple[str, str, str]]:
    """Return what the page of results shows: the attempt's outcome, the letter's state now, the sentence."""
    rows = response.context["report"].told
    page = text(response)
    assert all(escape(row.sentence) in page for row in rows)
    return [(row.outcome, row.letter.state, row.sentence) for row in rows]


def test_retry_tells_each_result_and_keeps_it(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    good, bad = poisoned.letters
    poisoned.fix(good.aggregate_id)

    results = told(act(desk, LETTERS, "retry", good, bad))

    assert [row[:2] for row in results] == [("resolved", "resolved"), ("failed", "parked")]
    assert "is resolved, 2 events handled" in results[0][2]
    assert "failed again: no such customer" in results[1][2]
    assert poisoned.statuses == ["shipped"]
    assert poisoned.letters[0].closed_by == "ada"
    entries = LogEntry.objects.order_by("pk")
    assert [(entry.user.get_username(), entry.object_id) for entry in entries] == [
        ("ada", str(good.pk)),
        ("ada", str(bad.pk)),
    ]
    assert "resolved" in entries[0].get_change_message()


def test_a_closed_letter_is_left_alone(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    poisoned.fix()
    letter = poisoned.letters[0]
    act(desk, LETTERS, "retry", letter)
    ((outcome, state, sentence),) = told(desk.post(f"{reverse(LETTERS)}?state=all", {
        "action": "retry", "index": "0", "_selected_action": [letter.pk]}))  # fmt: skip
    assert (outcome, state) == ("taken", "resolved")
    assert "is resolved already" in sentence
    assert LogEntry.objects.count() == 1
    assert "no open dead letter" in said(do(desk, letter, "retry-aggregate"))[0]


def test_retry_of_the_aggregate_takes_its_other_letters_too(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    first, other = poisoned.letters
    act(desk, LETTERS, "retry", first)
    poisoned.fix()
    act(desk, LETTERS, "retry_aggregate", first)
    assert [letter.state for letter in poisoned.letters] == ["resolved", "parked"]
    assert other.pk == poisoned.letters[1].pk


def test_what_does_not_fit_in_a_request_is_said(
    client: Client, poisoned: PoisonedOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    monkeypatch.setattr(operating, "RUN_SECONDS", -1.0)
    page = act(desk, LETTERS, "retry", *poisoned.letters)
    assert len(told(page)) == 1
    assert "1 were not tried within" in text(page)


def test_discard_asks_for_a_reason_first(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "discard_deadletter")
    html = text(act(desk, LETTERS, "discard", *poisoned.letters))
    assert 'name="reason"' in html
    assert all(f'name="_selected_action" value="{letter.pk}"' in html for letter in poisoned.letters)
    assert "<script" not in html.partition('id="content"')[2]
    again = act(desk, LETTERS, "discard", *poisoned.letters, confirmed="yes", reason="  ")
    assert "This field is required" in text(again)
    assert {letter.state for letter in poisoned.letters} == {"parked"}


def test_discard_of_all_pages_takes_as_many_as_it_asked_about(
    client: Client, poisoned: PoisonedOrders
) -> None:
    desk = staff(client, "view_deadletter", "discard_deadletter")
    page = text(act(desk, LETTERS, "discard", poisoned.letters[0], select_across="1"))
    assert "<strong>2 dead letters</strong>" in page
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    desk.post(reverse(LETTERS), {**fields, "reason": "test orders"})
    # Their followers fail in their turn and have letters of their own.
    assert DeadLetter.objects.filter(state="discarded").count() == 2


def test_discard_with_the_page_as_it_was_sent(client: Client, poisoned: PoisonedOrders) -> None:
    """Fill in the form of the intermediate page by its own fields, as a browser without JavaScript does."""
    desk = staff(client, "view_deadletter", "discard_deadletter")
    (letter, other) = poisoned.letters
    page = act(desk, LETTERS, "discard", letter)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', text(page)))
    fields.pop("csrfmiddlewaretoken", None)

    results = told(desk.post(reverse(LETTERS), {**fields, "reason": "a test order"}))

    # Its follower fails in its turn: an order that was never created cannot be shipped.
    assert results[0][:2] == ("failed", "discarded")
    letter.refresh_from_db()
    assert (letter.state, letter.close_reason, letter.closed_by) == ("discarded", "a test order", "ada")
    other.refresh_from_db()
    assert other.state == "parked"
    (entry,) = LogEntry.objects.all()
    assert entry.get_change_message().endswith("Reason: a test order")


def test_a_letter_of_code_that_is_gone_is_a_sentence(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    DeadLetter.objects.update(subscription="retired")
    ((outcome, state, sentence), _) = told(act(desk, LETTERS, "retry", *poisoned.letters))
    assert (outcome, state) == ("refused", "parked")
    assert sentence.startswith("No subscription 'retired' is declared")
    assert not LogEntry.objects.exists()


def test_the_page_of_a_letter_shows_all_of_it(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "view_event", "retry_deadletter", "discard_deadletter")
    letter = poisoned.letters[0]
    page = desk.get(reverse(LETTER, args=[letter.pk]))
    html = text(page)
    assert "Traceback (most recent call last)" in html
    assert "no such customer" in html
    assert "&quot;customer_id&quot;: &quot;cust-1&quot;" in html
    queue = page.context["page"].queue
    assert [(each.event.event_type, each.event.aggregate_version) for each in queue] == [("OrderShipped", 2)]
    assert page.context["page"].attempt_count == 1


def test_the_queue_is_what_waits_and_nothing_else(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter")
    letter = poisoned.letters[0]

    def queue() -> list[int]:
        return [
            each.event.aggregate_version
            for each in desk.get(reverse(LETTER, args=[letter.pk])).context["page"].queue
        ]

    assert queue() == [2]
    Checkpoint.objects.update(
        position=letter.position
    )  # what the checkpoint has not passed is not waiting yet
    assert queue() == []
    Checkpoint.objects.update(position=letter.position + 100, handled_types=["OrderCreated"])
    assert queue() == []
    Checkpoint.objects.update(handled_types=None)
    DeadLetter.objects.update(state="resolved")
    assert queue() == []
    DeadLetter.objects.update(replayed_through=letter.position)
    assert queue() == [2]
    DeadLetter.objects.update(scope="event", state="parked", replayed_through=None)
    assert queue() == []


def test_the_event_is_for_those_who_may_see_events(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter")
    assert "&quot;customer_id&quot;" not in text(desk.get(reverse(LETTER, args=[poisoned.letters[0].pk])))


def test_the_buttons_of_a_letter_act_and_show_the_letter_as_it_is_then(
    client: Client, poisoned: PoisonedOrders
) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter", "discard_deadletter")
    letter, other = poisoned.letters
    failed = do(desk, letter, "retry")
    assert said(failed)[0].startswith("error: Dead letter")
    assert failed.context["page"].attempt_count == 2
    poisoned.fix(letter.aggregate_id)
    done = do(desk, letter, "retry", reason="fixed in 1.2")
    assert said(done)[0].startswith("success:")
    assert done.context["page"].letter.state == "resolved"
    assert "Reason: fixed in 1.2" in text(done)
    assert "errorlist" in text(do(desk, other, "discard"))
    assert do(desk, other, "discard", reason="a test").context["page"].letter.state == "discarded"


def test_all_that_match_are_retried(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    poisoned.fix()
    address = reverse("admin:eventsource_app_deadletter_matching", args=["retry"])
    nothing = f"{address}?subscription=customers"
    assert "No open dead letter matches" in text(desk.get(nothing))
    assert told(desk.post(nothing)) == []
    matching = f"{address}?subscription=orders&event_type=OrderCreated&error_type=builtins.ValueError"
    assert "2 dead letters" in text(desk.get(matching))
    assert [row[0] for row in told(desk.post(matching))] == ["resolved", "resolved"]
    assert poisoned.statuses == ["shipped", "shipped"]
    assert LogEntry.objects.count() == 2


def test_filters_that_there_are_none_match_nothing_and_say_so(
    client: Client, poisoned: PoisonedOrders
) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    address = reverse("admin:eventsource_app_deadletter_matching", args=["retry"])

    for answer in (
        desk.get(f"{address}?colour=red", follow=True),
        desk.post(f"{address}?position=x", follow=True),
    ):
        assert answer.status_code == 200
        assert said(answer) == [
            "error: The list has no such filter; nothing was done, so choose the letters again."
        ]
    assert set(DeadLetter.objects.values_list("retry_count", flat=True)) == {0}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 2),
        ({"subscription": "customers"}, 0),
        ({"event_type": "OrderCreated"}, 2),
        ({"event_type": "OrderShipped"}, 0),
        ({"error_type": "builtins.ValueError"}, 2),
        ({"error_type": "builtins.KeyError"}, 0),
        ({"state": "dead"}, 0),
        ({"state": "parked"}, 2),
    ],
)
def test_filters(client: Client, poisoned: PoisonedOrders, query: dict[str, str], count: int) -> None:
    desk = staff(client, "view_deadletter")
    assert len(desk.get(reverse(LETTERS), query).context["cl"].result_list) == count


def test_closed_letters_are_shown_when_asked_for(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter")
    letter = poisoned.letters[0]
    DeadLetter.objects.filter(pk=letter.pk).update(state="resolved")
    shown = [
        desk.get(reverse(LETTERS), {"state": state} if state else {}).context["cl"].result_count
        for state in ("", "all", "resolved")
    ]
    assert shown == [1, 2, 1]
    by_aggregate = desk.get(reverse(LETTERS), {"q": str(letter.aggregate_id), "state": "all"})
    assert [row.pk for row in by_aggregate.context["cl"].result_list] == [letter.pk]


def test_what_fails_is_grouped(client: Client, poisoned: PoisonedOrders) -> None:
    page = staff(client, "view_deadletter").get(reverse(LETTERS))
    (group,) = page.context["groups"]
    assert (group["subscription"], group["event_type"], group["error"], group["amount"]) == (
        "orders",
        "OrderCreated",
        "ValueError",
        2,
    )


def test_no_list_reads_all_letters_for_its_choices(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    with CaptureQueriesContext(connection) as queries:
        desk.get(reverse(LETTERS))
    letters_read = [q["sql"] for q in queries if 'FROM "eventsource_app_deadletter"' in q["sql"]]
    assert not any("DISTINCT" in sql for sql in letters_read)
    # But for the list itself, which was counted, up to a limit, to fit on one page.
    assert sum("LIMIT" not in sql for sql in letters_read) == 1
    assert len(queries) <= 13


def test_the_statements_of_a_letters_page_do_not_grow(
    client: Client, poisoned: PoisonedOrders, django_assert_max_num_queries: Any
) -> None:
    desk = staff(client, "view_deadletter", "view_event", "retry_deadletter")
    with django_assert_max_num_queries(12):
        desk.get(reverse(LETTER, args=[poisoned.letters[0].pk]))


@pytest.mark.parametrize("slug", sorted(VERBS))
def test_each_verb_has_its_own_permission(client: Client, poisoned: PoisonedOrders, slug: str) -> None:
    permissions = {verb.permission for verb in VERBS.values()} - {VERBS[slug].permission}
    desk = staff(client, "view_deadletter", *permissions)
    poisoned.fix()
    letter = poisoned.letters[0]
    one = reverse("admin:eventsource_app_deadletter_verb", args=[letter.pk, slug])
    matching = reverse("admin:eventsource_app_deadletter_matching", args=[slug])
    for address in (one, matching):
        assert desk.get(address).status_code == 403
        assert desk.post(address, {"reason": "x"}).status_code == 403
        assert address not in text(desk.get(reverse(LETTER, args=[letter.pk])))
    assert {each.state for each in poisoned.letters} == {"parked"}


def test_a_letter_that_is_not_there_is_not_found(client: Client) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    assert desk.get(reverse(LETTER, args=[99])).status_code == 404
    assert desk.post(reverse("admin:eventsource_app_deadletter_verb", args=[99, "retry"])).status_code == 404
    assert desk.get(reverse("admin:eventsource_app_deadletter_matching", args=["explode"])).status_code == 404


def test_a_request_in_a_transaction_of_its_own_does_not_hold_the_verbs(
    client: Client, poisoned: PoisonedOrders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ATOMIC_REQUESTS each attempt still commits by itself."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    desk = staff(client, "view_deadletter", "view_checkpoint", "retry_deadletter", "pause_checkpoint")
    poisoned.fix()
    one, other = poisoned.letters
    assert do(desk, one, "retry").context["page"].letter.state == "resolved"
    assert [row[0] for row in told(act(desk, LETTERS, "retry", other))] == ["resolved"]
    pause = reverse("admin:eventsource_app_checkpoint_verb", args=["pause", "orders"])
    assert said(desk.post(pause, follow=True)) == ["success: orders was running and is paused now."]
