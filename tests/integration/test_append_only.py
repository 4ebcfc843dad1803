"""What is in the log stays in the log as it is: the database itself refuses to change or remove it."""

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from eventsource_app.models import Event
from eventsource_app.store import ExpectedVersion
from tests.builders import a_store, a_stream, payments

pytestmark = pytest.mark.django_db(transaction=True)

CHANGES: dict[str, Callable[[], object]] = {
    "UPDATE": lambda: Event.objects.update(event_type="Forged"),
    "DELETE": lambda: run("DELETE FROM eventsource_app_event"),
    "TRUNCATE": lambda: run("TRUNCATE eventsource_app_event"),
}


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def stored() -> list[tuple[int, str]]:
    return list(Event.objects.order_by("position").values_list("position", "event_type"))


@pytest.mark.parametrize("verb", CHANGES)
def test_a_change_is_refused_with_a_sentence(verb: str) -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
    before = stored()
    sentence = f"append-only, so {verb} on eventsource_app_event was refused"
    with pytest.raises(IntegrityError, match=sentence), transaction.atomic():  # noqa: PT012 - the setting is local
        run("SET LOCAL eventsource.allow_truncate = 'off'")
        CHANGES[verb]()
    assert stored() == before


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_the_setting_allows_no_update_and_no_delete(verb: str) -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():  # noqa: PT012 - as above
        run("SET LOCAL eventsource.allow_truncate = 'on'")
        CHANGES[verb]()
    assert len(stored()) == 2


def test_a_flush_between_tests_is_allowed_by_the_setting() -> None:
    """The sequence goes on: a position is never given twice, whatever was removed."""
    store, stream, later = a_store(), a_stream(), a_stream()
    last = store.append(stream, payments(stream, 2), ExpectedVersion.NO_STREAM).position
    call_command("flush", interactive=False, verbosity=0, reset_sequences=False)
    assert stored() == []
    assert store.append(later, payments(later, 1), ExpectedVersion.NO_STREAM).position > last


def test_taking_the_guards_migration_back_and_up_again_keeps_the_positions() -> None:
    stream = a_stream()
    result = a_store().append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM)
    try:
        call_command("migrate", "eventsource_app", "0001", verbosity=0)
    finally:
        call_command("migrate", verbosity=0)
    other = a_stream()
    assert a_store().append(other, payments(other, 1), ExpectedVersion.NO_STREAM).position > result.position
    assert a_store().stream_version(stream) == 3
