"""``manage.py verify_events``: the log against its own promises."""

from typing import Any

from django.core.management.base import CommandError

from eventsource_app.management.operating import LogCommand, one_line
from eventsource_app.management.termination import interrupted, stopped_by_signals
from eventsource_app.observability.progress import Progress
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.verification import verify


class Command(LogCommand):
    help = (
        "Reads the whole log once and checks it: versions without gaps, right slots, readable payloads, "
        "checkpoints not ahead, guards in place. Exit status 1 with one sentence for each finding."
    )

    def handle(self, *_arguments: Any, database: str, **_options: Any) -> None:
        # Positions have gaps, so the head is only about how many events there are.
        progress = Progress("verify_events", "events", EventStore(database).head_position())
        try:
            with stopped_by_signals():
                result = verify(database, on_progress=progress.advance)
        except KeyboardInterrupt as interrupt:
            progress.leave()
            raise interrupted(
                interrupt, f"{progress.done:,} events were read, not all; run it again from the beginning"
            ) from None
        progress.total = result.event_count
        progress.finish()
        for event_type, count in sorted(result.unknown_types.items()):
            self.stdout.write(
                f"{count:,} events of type {event_type!r}, which is not registered, were not read."
            )
        for finding in result.findings:
            self.stdout.write(one_line(finding))
        if result.finding_count > len(result.findings):
            self.stdout.write(f"… and {result.finding_count - len(result.findings):,} more.")
        if result.finding_count:
            raise CommandError(
                f"{result.finding_count:,} findings in {result.event_count:,} events; see the lines above."
            )
        self.stdout.write(f"{result.event_count:,} events verified; the log keeps its promises.")
