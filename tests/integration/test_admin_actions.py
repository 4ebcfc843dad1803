"""The desk's actions: retry and discard, each for those who may, told by messages and kept in the log."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from eventsource_app.admin import operating
from eventsource_app.models import DeadLetter
from tests.integration.desk import said, staff
from tests.integration.poisoned_orders import PoisonedOrders

pytestmark = pytest.mark.django_db(transaction=True)
LETTERS = "admin:eventsource_app_deadletter_changelist"


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


def test_retry_tells_each_result_and_keeps_it(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    good, bad = poisoned.letters
    poisoned.fix(good.aggregate_id)

    told = said(act(desk, LETTERS, "retry", good, bad))

    assert told[0].startswith(f"success: Dead letter {good.pk} of orders")
    assert "is resolved, 2 events handled" in told[0]
    assert told[1].startswith("error:")
    assert "failed again: no such customer" in told[1]
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
    act(desk, LETTERS, "retry", poisoned.letters[0])
    told = said(act(desk, LETTERS, "retry", poisoned.letters[0]))
    assert len(told) == 1
    assert told[0].startswith("warning:")
    assert "is resolved already" in told[0]
    assert LogEntry.objects.count() == 1
    assert "no open dead letter" in said(act(desk, LETTERS, "retry_aggregate", poisoned.letters[0]))[0]


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
    monkeypatch.setattr(operating, "RETRY_SECONDS", -1.0)
    assert said(act(desk, LETTERS, "retry", *poisoned.letters))[0].startswith("warning: 2 were not tried")


def test_discard_asks_for_a_reason_first(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "discard_deadletter")
    page = act(desk, LETTERS, "discard", *poisoned.letters)
    html = page.content.decode()
    assert page.status_code == 200
    assert 'name="reason"' in html
    assert all(f'name="_selected_action" value="{letter.pk}"' in html for letter in poisoned.letters)
    assert "<script" not in html.partition('id="content"')[2]
    again = act(desk, LETTERS, "discard", *poisoned.letters, confirmed="yes", reason="  ")
    assert "Say why" in again.content.decode()
    assert {letter.state for letter in poisoned.letters} == {"parked"}


def test_discard_with_the_page_as_it_was_sent(client: Client, poisoned: PoisonedOrders) -> None:
    """Fill in the form of the intermediate page by its own fields, as a browser without JavaScript does."""
    desk = staff(client, "view_deadletter", "discard_deadletter")
    (letter, other) = poisoned.letters
    page = act(desk, LETTERS, "discard", letter)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.content.decode()))
    fields.pop("csrfmiddlewaretoken", None)

    response = desk.post(reverse(LETTERS), {**fields, "reason": "a test order"}, follow=True)

    letter.refresh_from_db()
    assert (letter.state, letter.close_reason, letter.closed_by) == ("discarded", "a test order", "ada")
    assert said(response)
    other.refresh_from_db()
    assert other.state == "parked"
    (entry,) = LogEntry.objects.all()
    assert "a test order" in entry.get_change_message()


def test_a_letter_of_code_that_is_gone_is_a_sentence(client: Client, poisoned: PoisonedOrders) -> None:
    desk = staff(client, "view_deadletter", "retry_deadletter")
    DeadLetter.objects.update(subscription="retired")
    told = said(act(desk, LETTERS, "retry", poisoned.letters[0]))
    assert told[0].startswith("error: No subscription 'retired' is declared")
