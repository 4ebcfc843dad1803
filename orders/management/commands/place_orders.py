"""``manage.py place_orders N [--rate R]``: real orders through the API's own services."""

import argparse
import random
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError

from eventsource_app.management.termination import status_of
from eventsource_app.observability.progress import Progress
from orders.traffic import live_through_one_order, paced


class Command(BaseCommand):
    help = "Place N orders through the services; some are shipped, delivered or cancelled."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("count", metavar="N", type=_count, help="how many orders")
        parser.add_argument(
            "--rate", type=_rate, help="at most this many orders per second (default: no limit)"
        )
        parser.add_argument("--seed", type=int, help="the same seed gives the same mix of orders")

    def handle(self, *args: Any, **options: Any) -> None:
        chance = random.Random(options["seed"])  # noqa: S311 - a mix of orders, no secret
        progress = Progress("Placing orders", "orders", options["count"])
        statuses: Counter[str] = Counter()
        try:
            for _number in paced(options["count"], options["rate"]):
                statuses[live_through_one_order(chance).status] += 1
                progress.advance()
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"The database went away after {progress.done} orders: {error}") from error
        except KeyboardInterrupt as interrupt:
            raise CommandError(
                f"Interrupted after {progress.done} orders.", returncode=status_of(interrupt)
            ) from None
        finally:
            progress.finish()
        mix = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        self.stdout.write(f"Placed {statuses.total()} orders: {mix or 'none'}.")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of orders per second above 0")
    return rate
