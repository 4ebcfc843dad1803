"""``manage.py prune``: everything that may be forgotten."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser

from eventsource_app.http import idempotency, throttles, tokens  # noqa: F401 - register what they forget
from eventsource_app.management.operating import LogCommand
from eventsource_app.subscriptions.pruning import DEFAULT_DAYS, MAX_DAYS, prune


class Command(LogCommand):
    help = (
        "Deletes what nobody needs any more: closed dead letters, heartbeats of processes that went, samples of partitions "
        "that are gone, idempotency keys after 24 hours, idle throttles, ended API tokens. Events are never deleted."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--days", type=_days, default=DEFAULT_DAYS, metavar="N", help="keep so many days (default: 30)"
        )

    def handle(self, *_arguments: Any, **options: Any) -> None:
        for name, count in prune(options["days"], using=options["database"]).items():
            self.stdout.write(f"{name}: {count:,} deleted")


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_DAYS:
        raise ArgumentTypeError(f"{text} is not a number of days from 0 to {MAX_DAYS}")
    return value
