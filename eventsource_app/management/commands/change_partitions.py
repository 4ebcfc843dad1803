"""``manage.py change_partitions``: another number of partitions, exactly once."""

from typing import Any, Final

from django.core.management.base import CommandParser

from eventsource_app.management.operating import OperatorCommand
from eventsource_app.management.termination import interrupted, stopped_by_signals
from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions.repartitioning import change_partitions

OUTCOME: Final = (
    "workers go on with the partitions of {name}, as they were or, if that was done already, as asked for; "
    "`manage.py subscription_status` shows them"
)


class Command(OperatorCommand):
    help = (
        "Changes a subscription's number of partitions while workers run. With more than one, its handlers must write only "
        "rows that belong to the event's own aggregate."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--to", type=int, required=True, metavar="N", help="a power of two up to 1024")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        store = EventStore(options["database"])
        try:
            with stopped_by_signals():
                result = change_partitions(options["name"], options["to"], options["who"], store=store)
        except KeyboardInterrupt as interrupt:
            raise interrupted(interrupt, OUTCOME.format(name=options["name"])) from None
        if not result.changed:
            self.stdout.write(
                f"{result.subscription} has {result.partition_count} partitions already; nothing was changed."
            )
            return
        self.stdout.write(
            f"{result.subscription} has {result.partition_count} partitions now (before: {result.previous_count}), "
            f"all at position {result.position}."
        )
