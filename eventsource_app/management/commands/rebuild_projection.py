"""``manage.py rebuild_projection``: empty a read model and replay the log into it, while workers run."""

from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from eventsource_app.management.operating import OperatorCommand
from eventsource_app.observability.progress import Progress
from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions import SubscriptionManager
from eventsource_app.subscriptions.control import declared
from eventsource_app.subscriptions.rebuilding import (
    RebuildProgress,
    finish_rebuild,
    has_live_worker,
    rebuild,
    rebuild_progress,
)
from eventsource_app.subscriptions.signals import StopSignals

LOOK_SECONDS: Final = 0.2
STATUS_OF_SIGNAL: Final = {"SIGINT": 130, "SIGTERM": 143}


class Command(OperatorCommand):
    help = (
        "Empties a read model and closes its dead letters in one transaction, then shows how the workers replay the log; "
        "without a live worker this process replays it. Interrupted, it goes on with the workers; said again, it starts over."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--no-wait", action="store_true", help="leave the replay to the workers")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        name, store = options["name"], EventStore(options["database"])
        begun = rebuild(name, options["who"], store=store)
        before = (
            "" if begun.previous_state == "running" else f" It was {begun.previous_state} and runs again."
        )
        self.stdout.write(
            f"{name} starts over at {begun.from_position} and is rebuilt when it reaches {begun.target}; "
            f"{begun.closed_letter_count} dead letters were closed.{before}"
        )
        if options["no_wait"]:
            return
        self._follow(name, store)
        finish_rebuild(name, using=store.using)
        self.stdout.write(f"{name} is rebuilt.")

    def _follow(self, name: str, store: EventStore) -> None:
        """Show the replay until it is done; run it here while no worker does."""
        asked: list[str] = []
        progress = Progress("rebuild_projection", "positions")
        manager: SubscriptionManager | None = None
        with StopSignals(asked.append) as signals:
            try:
                while not (now := rebuild_progress(name, using=store.using)).is_done:
                    self._check(name, now, asked)
                    if manager is None and not has_live_worker(name, using=store.using):
                        manager = self._start_worker(name, store)
                    if manager is not None and name in manager.refused:
                        raise CommandError(
                            f"{name} is emptied and cannot be replayed: {manager.refused[name]}"
                        )
                    _show(progress, now)
                    signals.wait(LOOK_SECONDS)
                _show(progress, now)
                progress.finish()
            finally:
                if manager is not None:
                    manager.stop("the rebuild is over")

    def _check(self, name: str, now: RebuildProgress, asked: list[str]) -> None:
        goes_on = "the replay goes on from there, with the workers"
        if asked:
            raise CommandError(
                f"Interrupted at position {now.position} of {now.target}: {goes_on}.",
                returncode=STATUS_OF_SIGNAL.get(asked[0], 1),
            )
        if now.obstacle:
            raise CommandError(
                f"{name} is {now.obstacle} at position {now.position} of {now.target}; once it is not, {goes_on}."
            )

    def _start_worker(self, name: str, store: EventStore) -> SubscriptionManager:
        subscription = declared(name)
        manager = SubscriptionManager(event_store=store)
        manager.subscribe(subscription.projection, subscription.config, name)
        manager.start()
        return manager


def _show(progress: Progress, now: RebuildProgress) -> None:
    progress.total = now.total_count
    progress.advance(now.done_count - progress.done)
