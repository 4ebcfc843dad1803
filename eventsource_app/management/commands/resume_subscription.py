"""``manage.py resume_subscription``: let a paused or stopped subscription go on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from eventsource_app.management.operating import add_who, check_database, sentences, who_asks
from eventsource_app.store.session import log_database
from eventsource_app.subscriptions.control import resume


class Command(BaseCommand):
    help = "Resumes a subscription that was paused, or that stopped at a failure."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--database", default=log_database())
        add_who(parser)

    def handle(self, *_arguments: Any, **options: Any) -> None:
        check_database(options["database"])
        with sentences():
            change = resume(options["name"], who_asks(options["who"]), using=options["database"])
        if change.changed:
            self.stdout.write(f"{change.subscription} goes on (before: {change.previous}).")
        else:
            self.stdout.write(f"{change.subscription} is running already.")
