"""``manage.py pause_subscription``: hold a subscription until it is resumed, across restarts."""

from typing import Any

from django.core.management.base import CommandParser

from eventsource_app.management.operating import OperatorCommand
from eventsource_app.subscriptions.control import pause


class Command(OperatorCommand):
    help = "Pauses a subscription: its workers stop after the batch that runs and keep still until it is resumed."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--reason", default="", help="why, for the others")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        change = pause(options["name"], options["who"], options["reason"], using=options["database"])
        if not change.changed:
            self.stdout.write(f"{change.subscription} is paused already.")
            return
        self.stdout.write(
            f"{change.subscription} is paused ({change.partition_count} partitions, before: {change.previous}); "
            f"`manage.py resume_subscription {change.subscription}` lets it go on."
        )
