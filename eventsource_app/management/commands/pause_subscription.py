"""``manage.py pause_subscription``: hold a subscription until it is resumed, across restarts."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from eventsource_app.management.operating import add_who, check_database, sentences, who_asks
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.control import pause


class Command(BaseCommand):
    help = "Pauses a subscription: its workers stop after the batch that runs and keep still until it is resumed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--reason", default="", help="why, for the others")
        parser.add_argument("--database", default=log_database())
        add_who(parser)

    def handle(self, *_arguments: Any, **options: Any) -> None:
        check_database(options["database"])
        with sentences():
            change = pause(
                options["name"], who_asks(options["who"]), options["reason"], using=options["database"]
            )
        if not change.changed:
            self.stdout.write(f"{change.subscription} is paused already.")
            return
        self.stdout.write(
            f"{change.subscription} is paused ({change.partition_count} partitions, before: {change.previous}); "
            f"`manage.py resume_subscription {change.subscription}` lets it go on."
        )
