"""``manage.py production_demo [--seconds 5]``: the tutorial's complete example."""

import argparse
import signal
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from projections.demo import ProductionApp

POLL_SECONDS = 0.1


class Command(BaseCommand):
    help = "Start the subscriptions, place one order, log the health, wait, and stop gracefully."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=_seconds, default=5.0, help="how long to run (default: 5)")

    def handle(self, *args: Any, **options: Any) -> None:
        timeouts = settings.EVENTSOURCE
        app = ProductionApp(timeouts["SHUTDOWN_TIMEOUT"], timeouts["DRAIN_TIMEOUT"])
        result = app.run(options["seconds"], wait=_wait_for_a_signal)
        if result.forced:
            raise CommandError(
                f"The stop was forced after {result.duration_seconds:.1f} seconds: {result.reason}."
            )


def _wait_for_a_signal(seconds: float) -> None:
    """Wait; SIGINT and SIGTERM end the wait early. The handler only sets a flag: what it might call can deadlock."""
    asked = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    deadline = time.monotonic() + seconds
    try:
        while not asked and time.monotonic() < deadline:
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return seconds
