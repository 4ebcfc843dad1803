"""``manage.py readiness_report``: the production readiness checklist, answered; status 1 when something fails."""

import json
import sys
from collections import Counter
from textwrap import wrap
from typing import Any, Final

from django.core.management.base import CommandParser

from eventsource_app.checks.readiness import Item, Verdict, checklist, has_failures
from eventsource_app.management.operating import DatabaseCommand

WIDTH: Final = 130


class Command(DatabaseCommand):
    help = "Answers the production readiness checklist from the real settings and database."
    requires_system_checks = ()  # it reports; a check that fails must not keep it from that

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        items = checklist(options["database"])
        self.stdout.write((as_json if options["json"] else as_table)(items))
        self.stdout.flush()
        if has_failures(items):
            sys.exit(1)


def counts(items: list[Item]) -> dict[str, int]:
    found = Counter(item.verdict for item in items)
    return {verdict.value: found[verdict] for verdict in Verdict}


def as_json(items: list[Item]) -> str:
    document = {
        "ready": not has_failures(items),
        "counts": counts(items),
        "items": [i.to_dict() for i in items],
    }
    return json.dumps(document, indent=2)


def as_table(items: list[Item]) -> str:
    """Return the items under their areas, the question first, then what was seen."""
    width = max(len(item.id) for item in items)
    lines: list[str] = []
    for position, item in enumerate(items):
        if position == 0 or item.area != items[position - 1].area:
            lines += ["", item.area]
        lines.append(f"  {item.verdict.value.upper():<4}  {item.id:<{width}}  {item.question}")
        indent = " " * (width + 10)
        lines += wrap(item.sentence, WIDTH, initial_indent=indent, subsequent_indent=indent)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts(items).items())
    return "\n".join(
        [*lines[1:], "", f"{summary}. {'Not ready.' if has_failures(items) else 'Nothing fails.'}"]
    )
