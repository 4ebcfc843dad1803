"""``manage.py subscription_status``: where every subscription stands, as a table or as JSON."""

import json
import time
from typing import Any, Final

from django.core.management.base import CommandParser

from eventsource_app.management.operating import LogCommand
from eventsource_app.subscriptions.health import HealthFacts, PartitionFacts, health_facts

REFRESH_SECONDS: Final = 1.0
CLEAR_SCREEN: Final = "\x1b[H\x1b[2J"
TITLES: Final = (
    "subscription", "partition", "state", "owner", "position", "head", "lag", "lag_seconds", "processed", "failed",
    "dead_letters",
)  # fmt: skip
LEFT_ALIGNED: Final = ("subscription", "state", "owner")


class Command(LogCommand):
    help = "Shows every subscription's position, owner, lag, counters and dead letters."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--json", action="store_true", help="one JSON document (with --watch: one a second)"
        )
        parser.add_argument("--watch", action="store_true", help="show it again each second until Ctrl-C")

    def handle(self, *args: Any, **options: Any) -> None:
        render = as_json if options["json"] else as_table
        if not options["watch"]:
            self.stdout.write(render(health_facts(options["database"])))
            return
        try:
            self._watch(render, options["database"], clear=not options["json"] and self.stdout.isatty())
        except KeyboardInterrupt:
            # The way to end it, so not a failure.
            self.stdout.write("")

    def _watch(self, render: Any, using: str, *, clear: bool) -> None:
        while True:
            shown = render(health_facts(using))
            self.stdout.write((CLEAR_SCREEN if clear else "") + shown)
            self.stdout.flush()
            time.sleep(REFRESH_SECONDS)


def as_json(facts: HealthFacts) -> str:
    """Return one line of JSON: the head, the live workers, and one object per partition."""
    rows = [
        dict(zip(TITLES, _values(row, facts.head), strict=True))
        | {"partition": row.partition, "partition_count": row.partition_count}
        | {"state": row.state, "breaker": row.breaker}
        for row in facts.partitions
    ]
    document = {"head": facts.head, "live_workers": facts.live_workers, "subscriptions": rows}
    return json.dumps(document | {"timestamp": facts.now.isoformat().replace("+00:00", "Z")})


def as_table(facts: HealthFacts) -> str:
    """Return an aligned table, or a sentence when no worker has run yet."""
    if not facts.partitions:
        return f"No subscription has a checkpoint yet; the log's head is {facts.head}. Start one: manage.py run_subscriptions"
    cells = [[_cell(value) for value in _values(row, facts.head)] for row in facts.partitions]
    widths = [max(len(row[column]) for row in [list(TITLES), *cells]) for column in range(len(TITLES))]
    lines = [_line(row, widths) for row in [list(TITLES), *cells]]
    return "\n".join([*lines, f"live workers: {facts.live_workers}"])


def _values(row: PartitionFacts, head: int) -> tuple[Any, ...]:
    return (
        row.subscription,
        f"{row.partition}/{row.partition_count}",
        row.state if row.breaker == "closed" else f"{row.state} (breaker {row.breaker})",
        row.owner if row.owner_is_live else None,
        row.position,
        head,
        row.lag_events(head),
        round(row.lag_seconds, 1),
        row.events_processed,
        row.events_failed,
        row.dead_letters,
    )


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _line(row: list[str], widths: list[int]) -> str:
    aligned = (
        cell.ljust(width) if title in LEFT_ALIGNED else cell.rjust(width)
        for title, cell, width in zip(TITLES, row, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()
