"""``manage.py export_events FILE``: the whole log as JSON Lines."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError

from eventsource_app.observability.progress import Progress
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.exporting import export_events
from eventsource_app.store.session import log_database


class Command(BaseCommand):
    help = (
        "Writes every event, one JSON object per line in order of position, payloads exactly as stored. "
        "FILE appears when it is complete; - is standard output."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the file to write, or - for standard output")
        parser.add_argument("--database", default=log_database(), help="the database alias of the log")

    def handle(self, *_arguments: Any, file: str, database: str, **_options: Any) -> None:
        progress = Progress("export_events", "events", EventStore(database).head_position())
        try:
            with _output(file) as output:
                count = export_events(output, database, on_progress=progress.advance)
        except OSError as error:
            raise CommandError(
                f"{file} cannot be written ({error.strerror}); choose another FILE."
            ) from error
        progress.total = count
        progress.finish()
        if file != "-":
            self.stdout.write(f"{count:,} events exported to {file}.")


@contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """Open the file under a name of its own, and give it its name when it is complete and on the disk."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(file)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
