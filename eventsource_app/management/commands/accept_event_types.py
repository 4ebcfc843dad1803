"""``manage.py accept_event_types``: handled types that grew, without the past of the new ones."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from eventsource_app.management.operating import add_who, check_database, sentences, who_asks
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.rebuilding import accept_event_types


class Command(BaseCommand):
    help = (
        "Lets a subscription that handles new event types go on from where it is; their past stays unhandled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--database", default=log_database())
        add_who(parser)

    def handle(self, *_arguments: Any, **options: Any) -> None:
        check_database(options["database"])
        with sentences():
            accepted = accept_event_types(
                options["name"], who_asks(options["who"]), using=options["database"]
            )
        name = accepted.subscription
        if not accepted.added and not accepted.removed:
            self.stdout.write(f"{name} handles the types that it did before; nothing was changed.")
        if accepted.added:
            self.stdout.write(f"{name} now handles {', '.join(accepted.added)} too, from its checkpoint on.")
        if accepted.removed:
            self.stdout.write(f"{name} does not handle {', '.join(accepted.removed)} any more.")
