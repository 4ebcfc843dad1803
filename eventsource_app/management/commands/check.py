"""Django's ``check``, in which ``--tag production`` asks the database too: its promises are kept there."""

from typing import Any

from django.core.management.commands import check
from django.db import DEFAULT_DB_ALIAS

from eventsource_app.checks.production import TAG


class Command(check.Command):
    def handle(self, *app_labels: Any, **options: Any) -> None:
        if TAG in (options["tags"] or ()) and not options["databases"]:
            options["databases"] = [DEFAULT_DB_ALIAS]
        super().handle(*app_labels, **options)
