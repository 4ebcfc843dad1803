"""eventsource_app.checks.readiness: each rule's verdicts, with the values in the sentence."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from eventsource_app.checks.readiness.checklist import DATABASE_RULES, SETTINGS_RULES
from eventsource_app.checks.readiness.connecting import why_away
from eventsource_app.checks.readiness.deployment import Database, Deployment
from eventsource_app.checks.readiness.item import Item
from eventsource_app.checks.readiness.questions import QUESTIONS
from eventsource_app.checks.readiness.server import LogFacts, ServerFacts

SERVER = ServerFacts(
    version="15.4", max_connections=100, reserved_connections=3, connections_in_use=7, is_standby=False,
    is_superuser=False, has_other_powers=False, role="shop", statement_timeout=30_000, lock_timeout=10_000,
    idle_in_transaction_session_timeout=60_000, tls_version="TLSv1.3", archive_mode="on", wal_level="replica",
    archived_count=12, archive_failed_count=0, archived_ago=timedelta(minutes=4), archiving_fails=False,
    standby_count=1, fsync=True, full_page_writes=True, synchronous_commit="on", allows_truncate=False,
)  # fmt: skip
LOG = LogFacts(
    unapplied_migrations=(), missing_indices=(), index_count=9, unguarded_verbs=(), sequence_cache=1,
    longest_recent_stream=12, has_snapshots=False,
)  # fmt: skip
REMOTE = {
    "HOST": "db.example",
    "OPTIONS": {"sslmode": "verify-full", "pool": {"max_size": 5}},
    "CONN_HEALTH_CHECKS": True,
}
PLAN = {"instance_count": 3, "total": 60}


def settings(**changes: Any) -> SimpleNamespace:
    """The settings of a deployment that is well, with changes."""
    given = {
        "DATABASES": {"default": REMOTE},
        "EVENTSOURCE": {"POOL": PLAN, "HEALTH": {"max_errors_warning": 50}, "TRACING": {"endpoint": "c:4317"}, "ERROR_CALLBACKS": ["x"]},
        "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGH",
        "DEBUG": False, "ALLOWED_HOSTS": ["shop.example"], "SECURE_SSL_REDIRECT": True, "SECURE_HSTS_SECONDS": 60,
        "SESSION_COOKIE_SECURE": True, "CSRF_COOKIE_SECURE": True,
        "LOGGING": {"root": {"handlers": ["h"], "level": "INFO"}, "handlers": {"h": {"formatter": "f"}},
                    "formatters": {"f": {"()": "pythonjsonlogger.json.JsonFormatter"}}},
    }  # fmt: skip
    return SimpleNamespace(**{**given, **changes})


def by_settings(name: str, **changes: Any) -> Item:
    rule = next(rule for rule in SETTINGS_RULES if rule.id == name)
    return rule.item(Deployment(settings(**changes)))


def by_database(name: str, server: ServerFacts = SERVER, log: LogFacts = LOG, **changes: Any) -> Item:
    rule = next(rule for rule in DATABASE_RULES if rule.id == name)
    return rule.item(Database(Deployment(settings(**changes)), server, log))


@pytest.mark.parametrize("rule", [rule.id for rule in DATABASE_RULES])
def test_a_database_that_is_well(rule: str) -> None:
    assert by_database(rule).verdict == "ok"


@pytest.mark.parametrize("rule", [rule.id for rule in SETTINGS_RULES if rule.id != "api_authentication"])
def test_settings_that_are_well(rule: str) -> None:
    assert by_settings(rule).verdict == "ok"


def test_ids_are_unique() -> None:
    ids = (
        [rule.id for rule in DATABASE_RULES]
        + [rule.id for rule in SETTINGS_RULES]
        + [item.id for item in QUESTIONS]
    )
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("total", "verdict"), [(10, "ok"), (79, "ok"), (80, "warn"), (100, "warn"), (101, "fail"), (2000, "fail")]
)
def test_connections_warn_from_four_fifths_and_fail_over_the_limit(total: int, verdict: str) -> None:
    item = by_database("connections", EVENTSOURCE={"POOL": {"instance_count": 1, "total": total}})

    assert item.verdict == verdict
    assert f"1 instance × {total} connections = {total}, {total}% of max_connections 100" in item.sentence


def test_connections_without_a_plan_are_a_question() -> None:
    assert by_database("connections", EVENTSOURCE={}).verdict == "ask"


@pytest.mark.parametrize(
    ("mode", "version", "host", "verdict"),
    [
        ("verify-full", "TLSv1.3", "db.example", "ok"),
        ("verify-ca", "TLSv1.3", "db.example", "warn"),
        ("require", "TLSv1.3", "db.example", "warn"),
        ("prefer", "", "db.example", "fail"),
        ("prefer", "", "127.0.0.1", "ok"),
        ("prefer", "", "/run/socket", "ok"),
        ("prefer", "", "", "ok"),
    ],
)
def test_tls(mode: str, version: str, host: str, verdict: str) -> None:
    databases = {"default": {"HOST": host, "OPTIONS": {"sslmode": mode}}}

    assert by_database("tls", replace(SERVER, tls_version=version), DATABASES=databases).verdict == verdict


@pytest.mark.parametrize(
    ("rule", "changes", "verdict", "sentence"),
    [
        ("statement_timeout", {"statement_timeout": 0}, "fail", "ALTER ROLE shop SET statement_timeout = '30s'"),
        ("lock_timeout", {"lock_timeout": 0}, "fail", "ALTER ROLE shop SET lock_timeout"),
        ("idle_in_transaction_timeout", {"idle_in_transaction_session_timeout": 0}, "fail", "an idle transaction may last"),
        ("role", {"is_superuser": True}, "fail", "Role shop is a superuser"),
        ("role", {"has_other_powers": True}, "warn", "Role shop may create"),
        ("primary", {"is_standby": True}, "fail", "connect to the primary"),
        ("wal_archiving", {"archive_mode": "off"}, "fail", "archive_mode is off (wal_level replica)"),
        ("wal_archiving", {"archiving_fails": True, "archive_failed_count": 4}, "fail", "4 failures"),
        ("archive_age", {"archived_ago": None}, "warn", "Nothing was ever archived"),
        ("archive_age", {"archived_ago": timedelta(hours=30)}, "warn", "30 hours ago"),
        ("archive_age", {"archive_mode": "off"}, "warn", "Nothing is archived"),
        ("durability", {"fsync": False}, "fail", "fsync is off"),
        ("durability", {"synchronous_commit": "off"}, "fail", "synchronous_commit is off"),
        ("allow_truncate", {"allows_truncate": True}, "fail", "RESET it"),
    ],
)  # fmt: skip
def test_what_the_server_may_lack(rule: str, changes: dict[str, Any], verdict: str, sentence: str) -> None:
    item = by_database(rule, replace(SERVER, **changes))

    assert item.verdict == verdict
    assert sentence in item.sentence


@pytest.mark.parametrize(
    ("rule", "changes", "verdict", "sentence"),
    [
        (
            "migrations",
            {"unapplied_migrations": ("orders.0001_initial",)},
            "fail",
            "the first orders.0001_initial",
        ),
        ("indices", {"missing_indices": ("eventsource_event_id",)}, "fail", "1 of 9 are missing or invalid"),
        ("append_only", {"unguarded_verbs": ("TRUNCATE",)}, "fail", "refuses TRUNCATE"),
        ("sequence_cache", {"sequence_cache": 20}, "fail", "CACHE 20"),
        ("sequence_cache", {"sequence_cache": None}, "fail", "run manage.py migrate"),
        ("snapshots", {"longest_recent_stream": 900}, "warn", "900 events and there is no snapshot"),
        ("snapshots", {"longest_recent_stream": 900, "has_snapshots": True}, "ok", "900 events"),
    ],
)
def test_what_the_log_may_lack(rule: str, changes: dict[str, Any], verdict: str, sentence: str) -> None:
    item = by_database(rule, log=replace(LOG, **changes))

    assert item.verdict == verdict
    assert sentence in item.sentence


@pytest.mark.parametrize(
    ("rule", "changes", "verdict", "sentence"),
    [
        ("debug", {"DEBUG": True}, "fail", "DEBUG is on"),
        ("secret_key", {"SECRET_KEY": "insecure-development-key"}, "fail", "24 characters"),
        ("secret_key", {"SECRET_KEY": "django-insecure-" + "0123456789" * 5}, "fail", "a default or weak"),
        ("allowed_hosts", {"ALLOWED_HOSTS": ["*"]}, "fail", "['*']"),
        ("https", {"SESSION_COOKIE_SECURE": False}, "fail", "SESSION_COOKIE_SECURE is off"),
        ("pool", {"DATABASES": {"default": {}}}, "warn", "no pool"),
        (
            "pool",
            {"DATABASES": {"default": {"OPTIONS": {"pool": True}}}},
            "warn",
            "CONN_HEALTH_CHECKS is off",
        ),
        ("pooler", {"EVENTSOURCE": {"POOLER": "transaction"}}, "ask", "workers poll"),
        ("tracing", {"EVENTSOURCE": {}}, "ask", "OTLP_ENDPOINT"),
        ("health_thresholds", {"EVENTSOURCE": {}}, "warn", "choose thresholds"),
        ("error_alerts", {"EVENTSOURCE": {}}, "ask", "WEBHOOK"),
        (
            "graceful_shutdown",
            {"EVENTSOURCE": {"DRAIN_TIMEOUT": 90}},
            "warn",
            "90 s is above SHUTDOWN_TIMEOUT 60 s",
        ),
        ("logging", {"LOGGING": {}}, "fail", "no handler"),
        ("logging", {"LOGGING": {"root": {"handlers": ["h"], "level": "DEBUG"}}}, "warn", "DEBUG"),
        ("logging", {"LOGGING": {"root": {"handlers": ["h"]}}}, "warn", "No handler"),
        ("api_authentication", {}, "ok", "Every command"),
        (
            "api_authentication",
            {"EVENTSOURCE": {"API": {"authentication_required": False}}},
            "fail",
            "API_AUTH",
        ),
        ("checkpoint_strategy", {}, "ok", "orders every_batch (batch_size 500)"),
    ],
)
def test_what_the_settings_may_lack(rule: str, changes: dict[str, Any], verdict: str, sentence: str) -> None:
    item = by_settings(rule, **changes)

    assert item.verdict == verdict
    assert sentence in item.sentence


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("connection failed: … SSL error: certificate verify failed", "signed by no authority in DB_SSL_ROOT_CERT"),
        ("server certificate for \"a\" does not match host name \"b\"", "connect by the name in the certificate"),
        ("server does not support SSL, but SSL was required", "turn TLS on in the server"),
        ("Multiple connection attempts failed. All failures were:\n- host: 'a': Connection refused\n", "start the server"),
        ("FATAL: sorry, too many clients already", "raise the server's max_connections"),
        ("something new", "see the server's log"),
        ("", "see the server's log"),
    ],
)  # fmt: skip
def test_why_the_database_is_away(said: str, advice: str) -> None:
    assert advice in why_away(OSError(said))
