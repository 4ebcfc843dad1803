"""``manage.py accept_event_types``: handled types that grew, without the past of the new ones."""

from typing import Any

from django.core.management.base import CommandParser

from eventsource_app.management.operating import OperatorCommand
from eventsource_app.subscriptions.rebuilding import accept_event_types


class Command(OperatorCommand):
    help = (
        "Lets a subscription that handles new event types go on from where it is; their past stays unhandled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        accepted = accept_event_types(options["name"], options["who"], using=options["database"])
        name = accepted.subscription
        if not accepted.added and not accepted.removed:
            self.stdout.write(f"{name} handles the types that it did before; nothing was changed.")
        if accepted.added:
            self.stdout.write(f"{name} now handles {', '.join(accepted.added)} too, from its checkpoint on.")
        if accepted.removed:
            self.stdout.write(f"{name} does not handle {', '.join(accepted.removed)} any more.")
