"""``manage.py reset_checkpoint``: put a subscription at another position of the log."""

from typing import Any

from django.core.management.base import CommandParser

from eventsource_app.management.operating import OperatorCommand, confirm
from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions.rebuilding import check_reset, letters_above, reset_checkpoint


class Command(OperatorCommand):
    help = (
        "Puts all partitions of a subscription at one position. The read model stays as it is: what lies above is delivered "
        "(again), what is skipped is never delivered. To start a read model afresh use rebuild_projection."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "--to",
            type=int,
            required=True,
            metavar="POSITION",
            help="the last position that counts as handled",
        )
        parser.add_argument("--yes", "--no-input", action="store_true", dest="agreed", help="do not ask")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        name, to, using = options["name"], options["to"], options["database"]
        store = EventStore(using)
        check_reset(name, to, store=store)
        closing = letters_above(name, to, using=using)
        confirm(
            name,
            f"The checkpoint of {name} goes to {to}: events above are delivered again without the read model being emptied, "
            f"events skipped are never delivered, and {closing} open dead letters above it are closed.",
            agreed=options["agreed"],
        )
        reset = reset_checkpoint(name, to, options["who"], store=store)
        before = ", ".join(str(position) for position in reset.previous_positions)
        self.stdout.write(
            f"{name} is at {reset.position} now (before: {before}); {reset.closed_letter_count} dead letters were closed."
        )
