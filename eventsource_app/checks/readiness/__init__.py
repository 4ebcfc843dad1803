"""The production readiness checklist, as data: the command and Django's checks show the very same items."""

from eventsource_app.checks.readiness.checklist import checklist, database_items, has_failures, settings_items
from eventsource_app.checks.readiness.connecting import is_away, why_away
from eventsource_app.checks.readiness.item import Item, Verdict

__all__ = [
    "Item",
    "Verdict",
    "checklist",
    "database_items",
    "has_failures",
    "is_away",
    "settings_items",
    "why_away",
]
