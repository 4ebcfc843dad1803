"""``manage.py dead_letters``: look at dead letters, try them again, discard them."""

import dataclasses
import json
from typing import Any, Final
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q, QuerySet

from eventsource_app.management.operating import USAGE, OperatorCommand, one_line, printable
from eventsource_app.management.termination import interrupted, stopped_by_signals
from eventsource_app.models import Checkpoint, DeadLetter
from eventsource_app.observability.progress import Progress
from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions import declared_subscriptions, letters
from eventsource_app.subscriptions.control import UnknownSubscriptionError
from eventsource_app.subscriptions.letters import LetterResult, RetryReport

OPEN: Final = Q(state__in=["parked", "retrying", "dead"]) | Q(replayed_through__isnull=False)
SHOWN: Final = (
    "id", "subscription", "position", "event_id", "event_type", "aggregate_type", "aggregate_id", "state", "scope",
    "error_type", "error_message", "category", "severity", "retry_count", "next_retry_at", "replayed_through",
    "first_failed_at", "last_failed_at", "closed_at", "closed_by", "close_reason",
)  # fmt: skip


class Command(OperatorCommand):
    help = (
        "Dead letters: list (open ones; --all: closed ones too), show ID, retry (ID, or --subscription with --aggregate or "
        "--all), discard ID --reason TEXT. Exit status 1 when something failed again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("verb", choices=["list", "show", "retry", "discard"])
        parser.add_argument(
            "id", nargs="?", type=int, metavar="ID", help="of a dead letter, as `list` shows it first"
        )
        parser.add_argument("--subscription", metavar="NAME", help="only those of this subscription")
        parser.add_argument("--aggregate", type=UUID, metavar="ID", help="only those of this aggregate")
        parser.add_argument(
            "--all",
            action="store_true",
            help="list: closed ones too; retry: all open ones of the subscription",
        )
        parser.add_argument(
            "--reason", default="", metavar="TEXT", help="why it is discarded, for the record"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document")

    def handle(self, *_arguments: Any, verb: str, **options: Any) -> None:
        try:
            with stopped_by_signals():
                getattr(self, f"_{verb}")(options)
        except KeyboardInterrupt as interrupt:
            raise interrupted(interrupt, "`manage.py dead_letters list` shows what is left") from None

    def _list(self, options: dict[str, Any]) -> None:
        if options["subscription"]:
            _check_name(options["subscription"], options["database"])
        rows = self._rows(options).order_by("subscription", "position")
        if options["json"]:
            self._dump([as_dict(row) for row in rows])
            return
        for row in rows:
            line = (
                f"{row.pk}  {row.subscription}  {row.event_type} at {row.position}  {row.aggregate_type} {row.aggregate_id}  "
                f"{row.state}, {row.retry_count} retries  {row.error_message}"
            )
            self.stdout.write(one_line(line))
        if not rows:
            self.stdout.write("No dead letters." if options["all"] else "No open dead letters.")

    def _show(self, options: dict[str, Any]) -> None:
        row = DeadLetter.objects.using(options["database"]).filter(pk=_needed_id(options)).first()
        if row is None:
            raise CommandError(f"There is no dead letter {options['id']}.", returncode=USAGE)
        document = as_dict(row) | {"traceback": row.traceback}
        if options["json"]:
            self._dump(document)
            return
        for key, value in document.items():
            text = "-" if value in (None, "") else printable(str(value))
            self.stdout.write(f"{key}: {text}".replace("\n", "\n    "))

    def _retry(self, options: dict[str, Any]) -> None:
        store, who = EventStore(options["database"]), options["who"]
        name, aggregate = options["subscription"], options["aggregate"]
        if options["id"] is not None:
            report = RetryReport((letters.retry_letter(options["id"], who, store=store),))
        elif name and aggregate:
            report = letters.retry_aggregate(name, aggregate, who, store=store)
        elif name and options["all"]:
            report = self._retry_all(name, who, store)
        else:
            raise CommandError(
                "Say which: an ID, or --subscription NAME with --aggregate ID or --all.", returncode=USAGE
            )
        self._tell(report.results, options)
        if not report.is_clean:
            raise CommandError(_summary(report))

    def _retry_all(self, name: str, who: str, store: EventStore) -> RetryReport:
        waiting = DeadLetter.objects.using(store.using).filter(OPEN, subscription=name).count()
        progress = Progress("dead_letters retry", "letters", waiting)
        report = letters.retry_all(name, who, store=store, on_progress=progress.advance)
        progress.finish()
        return report

    def _discard(self, options: dict[str, Any]) -> None:
        letter_id = _needed_id(options)
        if not options["reason"].strip():
            raise CommandError("Say why, with --reason TEXT; it is kept with the letter.", returncode=USAGE)
        store, who = EventStore(options["database"]), options["who"]
        result = letters.discard(letter_id, who, options["reason"], store=store)
        self._tell((result,), options)
        if result.outcome != "discarded":
            raise CommandError(
                f"Dead letter {letter_id} was discarded, but not all behind it could be handled."
            )

    def _rows(self, options: dict[str, Any]) -> QuerySet[DeadLetter]:
        rows = DeadLetter.objects.using(options["database"])
        chosen = rows.all() if options["all"] else rows.filter(OPEN)
        if options["subscription"]:
            chosen = chosen.filter(subscription=options["subscription"])
        if options["aggregate"]:
            chosen = chosen.filter(aggregate_id=options["aggregate"])
        return chosen

    def _tell(self, results: tuple[LetterResult, ...], options: dict[str, Any]) -> None:
        if options["json"]:
            self._dump([dataclasses.asdict(result) for result in results])
            return
        for result in results:
            self.stdout.write(one_line(letters.sentence(result)))
        if not results:
            self.stdout.write("No open dead letters.")

    def _dump(self, document: object) -> None:
        self.stdout.write(json.dumps(document, default=_plain))


def _summary(report: RetryReport) -> str:
    counts = [
        f"{report.count(outcome)} {said}"
        for outcome, said in (("resolved", "resolved"), ("failed", "failed again"), ("taken", "taken"))
    ]
    refused, left = report.count("refused"), report.left_count
    counts += [f"{refused} could not be tried"] if refused else []
    counts += [f"{left} not tried, as the database does not answer"] if left else []
    return f"{', '.join(counts)}."


def as_dict(row: DeadLetter) -> dict[str, Any]:
    """Return what a list shows of a letter."""
    return {name: getattr(row, name) for name in SHOWN}


def _check_name(name: str, using: str) -> None:
    """Refuse a name that nothing has: no subscription in the code, and none that left a checkpoint or a letter."""
    known = set(declared_subscriptions())
    for model in (Checkpoint, DeadLetter):
        known.update(
            model.objects.using(using)
            .order_by("subscription")
            .values_list("subscription", flat=True)
            .distinct()
        )
    if name not in known:
        raise UnknownSubscriptionError(name, known, "is declared or has a checkpoint or dead letters")


def _needed_id(options: dict[str, Any]) -> int:
    if options["id"] is None:
        raise CommandError("Say which dead letter: its ID is missing.", returncode=USAGE)
    return int(options["id"])


def _plain(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else str(value)
