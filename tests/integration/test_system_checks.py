"""manage.py check finds a database or settings that would break the log's promises."""

from typing import Any

import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from eventsource_app import checks
from eventsource_app.checks import configuration

pytestmark = pytest.mark.django_db


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> ConnectionHandler:
    """Two databases that nobody connects to: SQLite by default, and PostgreSQL."""
    handler = ConnectionHandler({
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "events": {"ENGINE": "django.db.backends.postgresql", "NAME": "events"},
    })  # fmt: skip
    monkeypatch.setattr(configuration, "connections", handler)
    return handler


def found(check: Any) -> list[str | None]:
    return [message.id for message in check(None, databases=["default"])]


def alter(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_a_migrated_database_is_fine() -> None:
    for check in (
        checks.check_sequence,
        checks.check_append_only,
        checks.check_isolation,
        checks.check_database,
        checks.check_pool,
        checks.check_setting_keys,
        checks.check_time_zones,
    ):
        assert found(check) == []


def test_a_cached_sequence() -> None:
    alter("ALTER SEQUENCE eventsource_app_event_position_seq CACHE 20")
    assert found(checks.check_sequence) == ["eventsource_app.E001"]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("ALTER TABLE eventsource_app_event DISABLE TRIGGER ALL", "UPDATE, DELETE, TRUNCATE"),
        ("DROP TRIGGER eventsource_append_only ON eventsource_app_event", "UPDATE, DELETE"),
        ("DROP TRIGGER eventsource_append_only_truncate ON eventsource_app_event", "TRUNCATE"),
        (
            "ALTER TABLE eventsource_app_event ENABLE REPLICA TRIGGER eventsource_append_only",
            "UPDATE, DELETE",
        ),
    ],
)
def test_a_log_that_could_be_changed(sql: str, named: str) -> None:
    alter(sql)
    (message,) = checks.check_append_only(None, databases=["default"])
    assert message.id == "eventsource_app.E002"
    assert f"refuses {named}." in message.msg


def test_a_first_migrate_that_was_stopped_before_it_made_the_guards_may_go_on() -> None:
    alter("ALTER TABLE eventsource_app_event DISABLE TRIGGER ALL")
    alter("DELETE FROM django_migrations WHERE app = 'eventsource_app' AND name > '0002'")
    assert found(checks.check_append_only) == []


def test_transactions_in_which_the_log_cannot_be_read() -> None:
    alter("SET LOCAL default_transaction_isolation TO serializable")
    (message,) = checks.check_isolation(None, databases=["default"])
    assert message.id == "eventsource_app.E006"
    assert "'serializable'" in message.msg


def test_an_unmigrated_database_is_not_an_error_yet() -> None:
    alter("ALTER TABLE eventsource_app_event RENAME TO elsewhere")
    alter("ALTER SEQUENCE eventsource_app_event_position_seq RENAME TO elsewhere_seq")
    assert found(checks.check_append_only) == []
    assert found(checks.check_sequence) == []


def test_a_log_on_another_kind_of_database(settings: Any, configured: ConnectionHandler) -> None:
    settings.DATABASE_ROUTERS = []
    (message,) = checks.check_database(None)
    assert message.id == "eventsource_app.E007"
    assert message.msg.startswith("Database 'default' is sqlite,")


def test_another_kind_of_database_beside_the_logs(settings: Any, configured: ConnectionHandler) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "DATABASE": "events"}
    settings.DATABASE_ROUTERS = ["eventsource_app.store.routing.LogRouter"]
    assert found(checks.check_database) == []


def test_a_log_on_a_database_that_is_not_there(settings: Any) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "DATABASE": "evnets"}
    (message,) = checks.check_database(None)
    assert message.id == "eventsource_app.E007"
    assert "'evnets'" in message.msg
    assert message.hint == "Use one of default."


def test_a_pool_beside_persistent_connections(settings: Any) -> None:
    settings.DATABASES = {"default": {"OPTIONS": {"pool": True}, "CONN_MAX_AGE": 60}}
    assert found(checks.check_pool) == ["eventsource_app.E003"]


def test_times_without_a_zone(settings: Any) -> None:
    settings.USE_TZ = False
    (message,) = checks.check_time_zones(None)
    assert (message.id, message.hint) == ("eventsource_app.W001", "Set USE_TZ = True.")


def test_a_misspelt_setting(settings: Any) -> None:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "MAX_EVENT_BITES": 1}
    (message,) = checks.check_setting_keys(None)
    assert "'MAX_EVENT_BITES'" in message.msg
