"""Django's ``check``, in which ``--tag production`` asks the database too: its promises are kept there."""

from typing import Any

from django.core.management.commands import check

from eventsource_app.checks.production import TAG
from eventsource_app.store.session import log_database


class Command(check.Command):
    def handle(self, *app_labels: Any, **options: Any) -> None:
        if TAG in (options["tags"] or ()) and not options["databases"]:
            options["databases"] = [log_database()]
        super().handle(*app_labels, **options)
