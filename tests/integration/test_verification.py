"""Damage is found and named, and a healthy log has no findings."""

import re
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from eventsource_app.events import default_registry
from eventsource_app.models import Checkpoint
from eventsource_app.store import ExpectedVersion, verification
from eventsource_app.store.session import Params, Row, fetch_all
from eventsource_app.store.verification import MAX_FINDINGS
from tests.builders import a_store, a_stream, payments
from tests.integration.log_files import fill_log, verified

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def unguarded() -> Iterator[None]:
    """Lets a test damage the log behind the guards' back."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        yield
        cursor.execute("RESET session_replication_role")


def _damage(assignment: str, version: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE eventsource_app_event SET {assignment} WHERE aggregate_version = {version}")


def test_a_healthy_log_has_no_findings() -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 20), ExpectedVersion.NO_STREAM)
    fill_log(20)
    result = verified()
    assert (result.findings, result.event_count, result.unknown_types) == ([], 40, {"Noted": 20})


def test_a_worker_that_is_quicker_than_every_statement_is_not_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.objects.create(subscription="orders", position=0)

    def append_and_deliver() -> None:
        stream = a_stream()
        checkpoint.position = (
            a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM).position
        )
        checkpoint.save()

    def beside_a_worker(using: str, statement: str, params: Params = ()) -> list[Row]:
        rows = fetch_all(using, statement, params)
        append_and_deliver()
        return rows

    monkeypatch.setattr(verification, "fetch_all", beside_a_worker)
    monkeypatch.setattr(verification, "fetch_one", lambda *arguments: beside_a_worker(*arguments)[0])
    assert verified().findings == []


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("slot = (slot + 1) % 1024", "belongs to slot"),
        ("aggregate_version = 50", "version 49 does not come before it"),
        ("data = '{}'", "is unreadable: .*amount"),
        ("data = '[1]'", "is unreadable"),
        ("schema_version = 9", "is unreadable"),
        ("""data = '{"amount": "1", "event_id": 5}'""", "event_id inside its payload"),
        ("position = -5", "first event's position is -5"),
    ],
)
def test_damage_is_found(assignment: str, words: str) -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM)
    _damage(assignment, 3)
    result = verified()
    assert result.finding_count == 1
    assert re.search(words, result.findings[0])


@pytest.mark.usefixtures("unguarded")
def test_findings_are_counted_beyond_those_that_are_listed() -> None:
    fill_log(500)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE eventsource_app_event SET slot = (slot + 1) % 1024")
    result = verified()
    assert (result.finding_count, len(result.findings)) == (500, MAX_FINDINGS)


@pytest.mark.parametrize(
    "name",
    ["app_event_pkey", "event_stream_version", "event_id", "event_slot_range", "event_version_positive"],
)
def test_a_constraint_that_a_restore_did_not_bring_back_is_found(name: str) -> None:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE eventsource_app_event DROP CONSTRAINT eventsource_{name} CASCADE")
        (finding,) = verified().findings
        transaction.set_rollback(True)
    assert f"'eventsource_{name}'" in finding


def test_a_checkpoint_ahead_a_low_sequence_and_missing_guards_are_found() -> None:
    stream = a_stream()
    last = a_store().append(stream, payments(stream, 3), ExpectedVersion.NO_STREAM).position
    Checkpoint.objects.create(subscription="orders", position=last + 1)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE eventsource_app_event DISABLE TRIGGER eventsource_append_only")
        cursor.execute("ALTER SEQUENCE eventsource_app_event_position_seq CACHE 20")
        cursor.execute("SELECT setval('eventsource_app_event_position_seq', %s)", [last - 1])
    try:
        findings = "\n".join(verified().findings)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE eventsource_app_event ENABLE TRIGGER eventsource_append_only")
            cursor.execute("ALTER SEQUENCE eventsource_app_event_position_seq CACHE 1")
            cursor.execute("SELECT setval('eventsource_app_event_position_seq', %s)", [last])
    for words in (
        "CACHE 20",
        "below the last event's position",
        "'orders', partition 0",
        "'eventsource_append_only'",
    ):
        assert words in findings


@pytest.mark.usefixtures("unguarded")
def test_the_command_fails_with_the_findings() -> None:
    fill_log(10)
    assert "Noted" not in default_registry
    _damage("slot = (slot + 1) % 1024", 3)
    out = StringIO()
    with pytest.raises(CommandError, match="1 findings in 10 events"):
        call_command("verify_events", stdout=out)
    assert "belongs to slot" in out.getvalue()
    assert "10 events of type 'Noted', which is not registered" in out.getvalue()
