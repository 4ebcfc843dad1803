"""The readiness checklist against a real database: what is broken there is found, and the three ways to ask agree."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import connection

from eventsource_app.checks.readiness import checklist
from eventsource_app.testing import append_events, happened
from tests.builders import AccountOpened, a_store, a_stream

pytestmark = pytest.mark.django_db
ROLE = "eventsource_readiness_writer"


def alter(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def verdict(name: str) -> str:
    return next(item.verdict.value for item in checklist() if item.id == name)


def report(*arguments: str) -> tuple[str, int]:
    output = StringIO()
    try:
        call_command("readiness_report", *arguments, stdout=output)
    except SystemExit as ended:
        return output.getvalue(), int(str(ended.code))
    return output.getvalue(), 0


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("append_only", "ALTER TABLE eventsource_app_event DISABLE TRIGGER eventsource_append_only"),
        ("sequence_cache", "ALTER SEQUENCE eventsource_app_event_position_seq CACHE 20"),
        ("indices", "ALTER TABLE eventsource_app_event DROP CONSTRAINT eventsource_event_id"),
        (
            "indices",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'eventsource_event_id'::regclass",
        ),
        ("migrations", "DELETE FROM django_migrations WHERE app = 'orders' OR app = 'projections'"),
        ("statement_timeout", "SET LOCAL statement_timeout = 0"),
        ("lock_timeout", "SET LOCAL lock_timeout = 0"),
        ("idle_in_transaction_timeout", "SET LOCAL idle_in_transaction_session_timeout = 0"),
        ("allow_truncate", "SET LOCAL eventsource.allow_truncate = 'on'"),
    ],
)
def test_what_is_broken_in_the_database_is_found(name: str, sql: str) -> None:
    alter("SET LOCAL eventsource.allow_truncate = 'off'")
    assert verdict(name) == "ok"
    alter(sql)
    assert verdict(name) == "fail"


def test_allow_truncate_of_a_role_is_found_in_a_session_that_lacks_it() -> None:
    alter("SET LOCAL eventsource.allow_truncate = 'off'")
    alter("ALTER ROLE CURRENT_USER SET eventsource.allow_truncate = 'on'")

    assert verdict("allow_truncate") == "fail"


def test_an_ordinary_role_may_ask_everything() -> None:
    alter(f"CREATE ROLE {ROLE}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}; SET LOCAL ROLE {ROLE}")
    try:
        items = {item.id: item for item in checklist()}
    finally:
        alter("RESET ROLE")

    assert items["role"].verdict == "ok"
    assert items["role"].sentence == f"Role {ROLE} is no superuser."
    assert items["indices"].verdict == "ok"


def test_a_long_stream_without_snapshots_is_found() -> None:
    stream, store = a_stream(), a_store()
    append_events(stream, *(happened(AccountOpened, holder="ada") for _ in range(201)), store=store)

    assert verdict("snapshots") == "warn"


def test_the_report_as_json_and_as_a_table_has_every_item() -> None:
    items = checklist()
    text, status = report("--json")
    document = json.loads(text)
    table, table_status = report()

    assert (status, table_status, document["ready"]) == (1, 1, False)  # the tests' role is a superuser
    assert [item["id"] for item in document["items"]] == [item.id for item in items]
    assert sum(document["counts"].values()) == len(items)
    assert all(item.question in table for item in items)


def test_the_status_is_0_when_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    passing = [item for item in checklist() if item.verdict != "fail"]
    monkeypatch.setattr("eventsource_app.management.commands.readiness_report.checklist", lambda _: passing)

    text, status = report()

    assert status == 0
    assert text.rstrip().endswith("Nothing fails.")


def test_djangos_checks_tell_the_same_items() -> None:
    told = {
        (str(message.id).removeprefix("eventsource_app.production."), message.msg)
        for message in run_checks(tags=["production"], include_deployment_checks=True, databases=["default"])
    }

    assert told == {
        (item.id, f"{item.question} {item.sentence}") for item in checklist() if item.verdict != "ok"
    }


def test_check_with_the_tag_asks_the_database_without_being_told() -> None:
    alter("ALTER SEQUENCE eventsource_app_event_position_seq CACHE 20")

    with pytest.raises(SystemCheckError, match=r"production\.sequence_cache.*CACHE 20"):
        call_command("check", "--deploy", "--tag", "production")


def test_deployment_checks_without_the_tag_ask_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        messages = run_checks(include_deployment_checks=True)

    assert not [m for m in messages if "production.question" in str(m.id) or str(m.id).endswith(".role")]


def test_development_hears_nothing_of_it() -> None:
    assert not [message for message in run_checks() if "production" in str(message.id)]
    with pytest.raises(CommandError, match="no system check with the"):
        call_command("check", "--tag", "production")
