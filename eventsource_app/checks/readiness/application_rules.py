"""The checklist's part about the application: what its settings and its code say."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from django.urls import NoReverseMatch, reverse

from eventsource_app.checks.readiness.api_access import open_commands
from eventsource_app.checks.readiness.deployment import Database, Deployment
from eventsource_app.checks.readiness.item import (
    APPLICATION,
    INFRASTRUCTURE,
    Answer,
    Rule,
    ask,
    fail,
    ok,
    warn,
)
from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.registry import declared_subscriptions

MINIMUM_KEY_LENGTH, MINIMUM_DIFFERENT_CHARACTERS = 50, 5
LONG_STREAM: Final = 200
PROBES: Final = ("health", "health-ready", "health-live")


def secret_key(deployment: Deployment) -> Answer:
    key = str(deployment.get("SECRET_KEY", ""))
    different = len(set(key))
    if "insecure" in key or len(key) < MINIMUM_KEY_LENGTH or different < MINIMUM_DIFFERENT_CHARACTERS:
        return fail(
            f"SECRET_KEY is a default or weak ({len(key)} characters, {different} different ones): "
            f"set {MINIMUM_KEY_LENGTH} random ones, best from a file (SECRET_KEY_FILE)."
        )
    return ok(f"SECRET_KEY has {len(key)} characters and is no default.")


def debug(deployment: Deployment) -> Answer:
    if deployment.get("DEBUG"):
        return fail("DEBUG is on, so error pages show code and settings: use settings.production.")
    return ok("DEBUG is off.")


def allowed_hosts(deployment: Deployment) -> Answer:
    hosts = list(deployment.get("ALLOWED_HOSTS", ()))
    if "*" in hosts or not hosts:
        return fail(f"ALLOWED_HOSTS is {hosts}: name the hosts this site answers to.")
    return ok(f"ALLOWED_HOSTS names {', '.join(hosts)}.")


def https(deployment: Deployment) -> Answer:
    wanted = ("SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
    off = [name for name in wanted if not deployment.get(name)]
    if off:
        return fail(f"{', '.join(off)} is off: browsers must speak HTTPS only; use settings.production.")
    return ok(
        f"HTTP is redirected, cookies are secure, HSTS lasts {deployment.get('SECURE_HSTS_SECONDS')} s."
    )


def health_endpoints(deployment: Deployment) -> Answer:
    try:
        paths = [reverse(name) for name in PROBES]
    except NoReverseMatch:
        return fail("The probes have no URL: include eventsource_app.probes.urls in the URL configuration.")
    return ok(f"Probes answer at {', '.join(paths)}.")


def shutdown(deployment: Deployment) -> Answer:
    whole, drain = (float(deployment.options.get(name, default)) for name, default in
                    (("SHUTDOWN_TIMEOUT", 60), ("DRAIN_TIMEOUT", 30)))  # fmt: skip
    if drain > whole:
        return warn(
            f"DRAIN_TIMEOUT {drain:g} s is above SHUTDOWN_TIMEOUT {whole:g} s, which cuts it: lower it."
        )
    return ok(
        f"A worker drains for {drain:g} s and stops within {whole:g} s; its grace period must be longer than that."
    )


def structured_logging(deployment: Deployment) -> Answer:
    config: Mapping[str, Any] = deployment.get("LOGGING") or {}
    root = config.get("root", {})
    handlers = [config.get("handlers", {}).get(name, {}) for name in root.get("handlers", ())]
    if not handlers:
        return fail(
            "LOGGING gives the root logger no handler: use the JSON formatter of eventsource_app.observability."
        )
    level = logging.getLevelName(root.get("level", "WARNING"))
    if isinstance(level, int) and level <= logging.DEBUG:
        return warn(
            "The root logger's level is DEBUG, which is slow and may tell too much: set LOG_LEVEL=INFO."
        )
    if not any(_is_json(config, handler) for handler in handlers):
        return warn(
            "No handler of the root logger writes JSON: use eventsource_app.observability.json_logging."
        )
    return ok(f"The root logger writes JSON lines from level {root.get('level', 'WARNING')}.")


def error_alerts(deployment: Deployment) -> Answer:
    callbacks, webhook = deployment.options.get("ERROR_CALLBACKS") or [], deployment.options.get("WEBHOOK")
    if not callbacks and not webhook:
        return ask(
            "Errors are logged by eventsource.errors and eventsource.alerts, and counted; nobody else is told (WEBHOOK, "
            "ERROR_CALLBACKS): does an alert watch the log or the metrics?"
        )
    return ok(
        f"Errors go to {len(callbacks)} callbacks{' and a webhook' if webhook else ''}, besides the log."
    )


def checkpoint_strategy(deployment: Deployment) -> Answer:
    try:
        found = declared_subscriptions()
    except ConfigurationError as error:
        return fail(str(error))
    if not found:
        return warn("No subscription is declared, so nothing follows the log: add one with @subscription.")
    chosen = ", ".join(
        f"{name} {item.config.checkpoint_strategy.value} (batch_size {item.config.batch_size})"
        for name, item in found.items()
    )
    return ok(f"{chosen}; each is exactly-once.")


def health_thresholds(deployment: Deployment) -> Answer:
    chosen: Mapping[str, Any] = deployment.options.get("HEALTH") or {}
    if not chosen:
        return warn(
            "EVENTSOURCE['HEALTH'] is not set, so the defaults decide: choose thresholds for your load."
        )
    return ok(", ".join(f"{name} {value}" for name, value in chosen.items()) + ".")


def tracing(deployment: Deployment) -> Answer:
    endpoint = deployment.options.get("TRACING", {}).get("endpoint")
    if not endpoint:
        return ask("Tracing is off, which is allowed; set OTLP_ENDPOINT to send traces to a collector.")
    return ok(f"Traces are sent to {endpoint}.")


def api_authentication(deployment: Deployment) -> Answer:
    if not deployment.options.get("API", {}).get("authentication_required", True):
        return fail("API_AUTH is false, so anybody may give commands: leave it on outside development.")
    found = open_commands()
    if found:
        return fail(f"Anybody may call {', '.join(found)}: give the API an auth.")
    return ok("Every command of the API asks for authentication.")


def snapshots(seen: Database) -> Answer:
    """Snapshots are needed where streams are long, so the streams are looked at."""
    longest, there = seen.log.longest_recent_stream, seen.log.has_snapshots
    if longest <= LONG_STREAM:
        return ok(f"The longest stream that was written to lately has {longest} events, so none is needed.")
    if not there:
        return warn(
            f"A stream that was written to lately has {longest} events and there is no snapshot at all: "
            "give its repository a snapshot_policy, as SnapshotPolicy(every=100)."
        )
    return ok(f"Snapshots are taken; the longest stream that was written to lately has {longest} events.")


def _is_json(config: Mapping[str, Any], handler: Mapping[str, Any]) -> bool:
    formatter = config.get("formatters", {}).get(handler.get("formatter"), {})
    return "json" in str(formatter.get("()") or formatter.get("class") or "").lower()


SETTINGS_RULES: Final = (
    Rule("secret_key", INFRASTRUCTURE, "Are secrets no defaults?", secret_key),
    Rule("debug", APPLICATION, "Is DEBUG off?", debug),
    Rule("allowed_hosts", APPLICATION, "Does the site answer to its own names only?", allowed_hosts),
    Rule("https", APPLICATION, "Is everything but the probes HTTPS only?", https),
    Rule(
        "api_authentication", APPLICATION, "Must whoever gives a command say who it is?", api_authentication
    ),
    Rule("health_endpoints", APPLICATION, "Are there liveness and readiness probes?", health_endpoints),
    Rule(
        "graceful_shutdown",
        APPLICATION,
        "Does a signal stop a worker gracefully, within its grace?",
        shutdown,
    ),
    Rule("logging", APPLICATION, "Are logs structured, for aggregation?", structured_logging),
    Rule("error_alerts", APPLICATION, "Does somebody hear of errors?", error_alerts),
    Rule("checkpoint_strategy", APPLICATION, "Is a checkpoint strategy chosen?", checkpoint_strategy),
    Rule("health_thresholds", APPLICATION, "Are the thresholds of health chosen?", health_thresholds),
    Rule("tracing", APPLICATION, "Is tracing on (optional)?", tracing),
)
DATABASE_RULES: Final = (
    Rule("snapshots", APPLICATION, "Are snapshots tuned for the workload?", snapshots),
)  # fmt: skip
