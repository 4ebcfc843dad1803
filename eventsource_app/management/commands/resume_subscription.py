"""``manage.py resume_subscription``: let a paused or stopped subscription go on."""

from typing import Any

from django.core.management.base import CommandParser

from eventsource_app.management.operating import OperatorCommand
from eventsource_app.subscriptions.control import resume


class Command(OperatorCommand):
    help = "Resumes a subscription that was paused, or that stopped at a failure."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        change = resume(options["name"], options["who"], using=options["database"])
        if change.changed:
            self.stdout.write(f"{change.subscription} goes on (before: {change.previous}).")
        else:
            self.stdout.write(f"{change.subscription} is running already.")
