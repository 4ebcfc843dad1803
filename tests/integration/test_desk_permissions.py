"""Every address of the desk, and what it takes: a new page without a line here fails, and so does one that checks nothing."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import URLPattern, URLResolver, reverse
from django.utils import timezone

from eventsource_app.admin import operating, verbs
from eventsource_app.models import Checkpoint, DeadLetter, Event

pytestmark = pytest.mark.django_db
AGGREGATE = UUID("0190a000-0000-7000-8000-000000000001")
APPS = ("eventsource_app", "projections", "admin_logentry")
# What nobody may open, and what Django's own admin guards by the rules that `test_admin_is_read_only` tries.
STANDARD = ("_changelist", "_add", "_history", "_delete", "_change")
LOOKING = ("view_checkpoint", "view_deadletter", "view_event", "view_snapshot", "view_workerheartbeat", "view_logentry",
           "view_ordersummary", "view_customersummary", "view_apitoken")  # fmt: skip


@pytest.fixture
def letter() -> DeadLetter:
    Checkpoint.objects.create(subscription="orders", position=9)
    event = Event.objects.create(
        position=2, event_id=uuid4(), event_type="A", aggregate_type="B", aggregate_id=AGGREGATE, aggregate_version=1,
        slot=0, occurred_at=timezone.now(), data={"note": "<script>alert(1)</script>"}, correlation_id="<script>r</script>",
        actor_id="<script>a</script>", metadata={"m": "<script>m</script>"},
    )  # fmt: skip
    return DeadLetter.objects.create(
        subscription="orders", position=2, event_id=event.event_id, event_type="A", aggregate_type="B",
        aggregate_id=AGGREGATE, slot=0, error_type="ValueError", error_message="<script>e</script>",
        traceback="<script>t</script>", category="application", severity="medium", state="dead",
    )  # fmt: skip


def custom_pages(letter: DeadLetter) -> dict[str, list[tuple[str, str]]]:
    """Return each page of ours by its URL's name: the addresses, each with the permission that opens it."""
    one = {slug: verb.permission for slug, verb in operating.VERBS.items()}
    return {
        "eventsource_app_checkpoint_verb": [
            (reverse("admin:eventsource_app_checkpoint_verb", args=[slug, "orders"]), verb.permission)
            for slug, verb in verbs.VERBS.items()
        ],
        "eventsource_app_deadletter_verb": [
            (reverse("admin:eventsource_app_deadletter_verb", args=[letter.pk, slug]), permission)
            for slug, permission in one.items()
        ],
        "eventsource_app_deadletter_matching": [
            (reverse("admin:eventsource_app_deadletter_matching", args=[slug]), permission)
            for slug, permission in one.items()
        ],
        "eventsource_app_event_stream": [
            (reverse("admin:eventsource_app_event_stream", args=["B", AGGREGATE]), "view_event")
        ],
        "eventsource_app_event_correlation": [
            (
                f"{reverse('admin:eventsource_app_event_correlation')}?id=%3Cscript%3Er%3C/script%3E",
                "view_event",
            )
        ],
    }


def all_names(patterns: Any) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from all_names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name and pattern.name.startswith(APPS):
            yield pattern.name


def pages_to_look_at(letter: DeadLetter) -> list[str]:
    lists = [name for name in all_names(admin.site.urls[0]) if name.endswith("_changelist")]
    rows = {"event": 2, "deadletter": letter.pk, "checkpoint": Checkpoint.objects.get().pk}
    changes = [reverse(f"admin:eventsource_app_{name}_change", args=[pk]) for name, pk in rows.items()]
    histories = [reverse(f"admin:eventsource_app_{name}_history", args=[pk]) for name, pk in rows.items()]
    return [*(reverse(f"admin:{name}") for name in lists), *changes, *histories]


def user_with(*permissions: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client = Client()
    client.force_login(user)
    return client


def test_no_page_is_missing_here(letter: DeadLetter) -> None:
    ours = {name for name in all_names(admin.site.urls[0]) if not name.endswith(STANDARD)}
    assert ours == set(custom_pages(letter))


def test_who_may_only_look_acts_nowhere(letter: DeadLetter) -> None:
    desk = user_with(*LOOKING)
    before = [list(model.objects.values()) for model in (Checkpoint, DeadLetter)]
    for pages in custom_pages(letter).values():
        for address, permission in pages:
            expected = 200 if permission == "view_event" else 403
            assert desk.get(address).status_code == expected, address
            if expected == 403:
                form = {"name": "orders", "reason": "x", "to": "1", "seen": "9"}
                assert desk.post(address, form).status_code == 403, address
    assert [list(model.objects.values()) for model in (Checkpoint, DeadLetter)] == before
    assert not LogEntry.objects.exists()


def test_a_permission_opens_its_own_pages_and_no_others(letter: DeadLetter) -> None:
    pages = [page for some in custom_pages(letter).values() for page in some]
    desk = user_with("view_checkpoint", "view_deadletter")
    user = User.objects.get()
    for granted in sorted({permission for _, permission in pages}):
        user.user_permissions.set(
            Permission.objects.filter(codename__in=["view_checkpoint", "view_deadletter", granted])
        )
        opened = {address for address, _ in pages if desk.get(address).status_code == 200}
        assert opened == {address for address, permission in pages if permission == granted}, granted


def test_the_right_to_act_does_not_open_what_one_may_not_see(letter: DeadLetter) -> None:
    acting = {
        *(verb.permission for verb in verbs.VERBS.values()),
        *(v.permission for v in operating.VERBS.values()),
    }
    desk = user_with(*acting)
    for pages in custom_pages(letter).values():
        for address, _ in pages:
            assert desk.get(address).status_code == 403, address
    for address in pages_to_look_at(letter):
        assert desk.get(address).status_code == 403, address


def test_staff_without_permissions_see_nothing(letter: DeadLetter) -> None:
    desk = user_with()
    addresses = [address for pages in custom_pages(letter).values() for address, _ in pages]
    for address in [*addresses, *pages_to_look_at(letter)]:
        assert desk.get(address).status_code == 403, address
    assert "How all is" not in desk.get(reverse("admin:index")).content.decode()


def test_nobody_unknown_gets_further_than_the_log_in(client: Client, letter: DeadLetter) -> None:
    addresses = [address for pages in custom_pages(letter).values() for address, _ in pages]
    for address in [*addresses, *pages_to_look_at(letter)]:
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/admin/login/"), address


def test_no_page_renders_what_is_stored(letter: DeadLetter) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    addresses = [address for pages in custom_pages(letter).values() for address, _ in pages]
    shown = 0
    for address in [*addresses, *pages_to_look_at(letter)]:
        page = client.get(address).content.decode()
        for mark in ("alert(1)", "r", "a", "m", "e", "t"):
            assert f"<script>{mark}</script>" not in page, address
        shown += page.count("&lt;script&gt;")
    assert shown > 10


def test_every_form_of_ours_wants_its_token(letter: DeadLetter) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))
    for name in ("checkpoint_verb", "deadletter_verb", "deadletter_matching"):
        for address, _ in custom_pages(letter)[f"eventsource_app_{name}"]:
            assert strict.post(address, {"reason": "x"}).status_code == 403, address
