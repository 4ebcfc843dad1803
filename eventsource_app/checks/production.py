"""``manage.py check --deploy --tag production``: the readiness checklist as Django's checks.

Without ``--database`` (which ``--tag production`` implies) only the settings are looked at and only faults are told, so
that ``check --deploy`` needs no database and is silent where all is well.
"""

from collections.abc import Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.core import checks

from eventsource_app.checks.readiness import Item, Verdict, database_items, settings_items
from eventsource_app.checks.readiness.questions import QUESTIONS
from eventsource_app.store.session import log_database

TAG: Final = "production"
LEVELS: Final = {Verdict.FAIL: checks.ERROR, Verdict.WARN: checks.WARNING, Verdict.ASK: checks.INFO}


@checks.register(TAG, deploy=True)
def check_production(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    if not databases:
        return _messages([item for item in settings_items(log_database()) if item.verdict is not Verdict.ASK])
    items = settings_items(databases[0])
    for alias in databases:
        items += database_items(alias)
    return _messages([*items, *QUESTIONS])


def _messages(items: list[Item]) -> list[checks.CheckMessage]:
    return [
        checks.CheckMessage(LEVELS[item.verdict], f"{item.question} {item.sentence}", id=f"eventsource_app.production.{item.id}")
        for item in items
        if item.verdict in LEVELS
    ]  # fmt: skip
