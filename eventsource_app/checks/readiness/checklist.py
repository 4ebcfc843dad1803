"""The whole checklist: every rule asked once, of the settings and of the database where it answers."""

from typing import Any, Final

from django.conf import settings as project_settings
from django.db import DatabaseError, InterfaceError

from eventsource_app.checks.readiness import application_rules, connection_rules, storage_rules
from eventsource_app.checks.readiness.connecting import why_away
from eventsource_app.checks.readiness.deployment import Database, Deployment
from eventsource_app.checks.readiness.item import INFRASTRUCTURE, Item, Rule, Verdict, ask, fail, ok
from eventsource_app.checks.readiness.questions import QUESTIONS
from eventsource_app.checks.readiness.server import log_facts, server_facts
from eventsource_app.store.session import leave_pool, log_database

SETTINGS_RULES: Final[tuple[Rule[Deployment], ...]] = (
    *connection_rules.SETTINGS_RULES,
    *application_rules.SETTINGS_RULES,
)
DATABASE_RULES: Final[tuple[Rule[Database], ...]] = (
    *connection_rules.DATABASE_RULES,
    *storage_rules.DATABASE_RULES,
    *application_rules.DATABASE_RULES,
)
ANSWERS: Final[Rule[str]] = Rule(
    "database",
    INFRASTRUCTURE,
    "Does the database answer?",
    lambda reason: fail(reason) if reason else ok("It does."),
)
NOT_SEEN: Final = ask("The database does not answer, so this could not be looked at.")


def checklist(using: str | None = None, settings: Any = project_settings) -> list[Item]:
    """Return every item, by area; a database that is away is an item of its own, and what it hides is asked."""
    using = using or log_database()
    found = [*settings_items(using, settings), *database_items(using, settings), *QUESTIONS]
    areas = list(dict.fromkeys(item.area for item in found))
    return sorted(found, key=lambda item: areas.index(item.area))


def settings_items(using: str | None = None, settings: Any = project_settings) -> list[Item]:
    """Return what the settings alone can answer."""
    using = using or log_database()
    deployment = Deployment(settings, using)
    return [rule.item(deployment) for rule in SETTINGS_RULES]


def database_items(using: str | None = None, settings: Any = project_settings) -> list[Item]:
    """Return what the database answers."""
    using = using or log_database()
    try:
        seen = _look(Deployment(settings, using))
    except (DatabaseError, InterfaceError) as error:
        return [ANSWERS.item(why_away(error)), *(rule.with_answer(NOT_SEEN) for rule in DATABASE_RULES)]
    return [ANSWERS.item(""), *(rule.item(seen) for rule in DATABASE_RULES)]


def has_failures(items: list[Item]) -> bool:
    return any(item.verdict is Verdict.FAIL for item in items)


def _look(deployment: Deployment) -> Database:
    # A pool would try for half a minute, and then say only that it has no connection.
    leave_pool(deployment.alias)
    return Database(deployment, server_facts(deployment.alias), log_facts(deployment.alias))
