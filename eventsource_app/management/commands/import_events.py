"""``manage.py import_events FILE``: an exported log, positions and ids kept."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError

from eventsource_app.management.log_commands import check_database
from eventsource_app.observability.progress import Progress
from eventsource_app.store.export_line import ImportRefusedError
from eventsource_app.store.import_lock import TableBusyError
from eventsource_app.store.importing import CHUNK_LINES, import_events
from eventsource_app.store.session import log_database


class Command(BaseCommand):
    help = (
        "Imports what export_events wrote: positions, ids and times are kept. After an interruption, run it again: "
        "what is stored already is compared and skipped. A log that does not continue this one is refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the file to read, or - for standard input")
        parser.add_argument("--database", default=log_database(), help="the database alias of the log")
        parser.add_argument(
            "--chunk-lines",
            type=_positive,
            default=CHUNK_LINES,
            help="lines per transaction (default: %(default)s)",
        )

    def handle(self, *_arguments: Any, file: str, database: str, chunk_lines: int, **_options: Any) -> None:
        check_database(database)
        try:
            with _input(file) as lines:
                progress = Progress("import_events", "events", _count(lines))
                result = import_events(lines, database, chunk_lines=chunk_lines, on_progress=progress.advance)
        except OSError as error:
            raise CommandError(f"{file!r} cannot be read ({error.strerror}); check its name.") from error
        except ImportRefusedError as error:
            raise CommandError(f"{file} is refused. {error}") from error
        except TableBusyError as error:
            raise CommandError(str(error)) from error
        progress.finish()
        self.stdout.write(f"{result.imported:,} events imported, {result.skipped:,} were there already.")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _count(lines: BinaryIO) -> int | None:
    """Return how many lines follow, and go back; None for a pipe, which nobody reads twice."""
    if not lines.seekable():
        return None
    start = lines.tell()
    count = sum(1 for _ in lines)
    lines.seek(start)
    return count


@contextmanager
def _input(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with Path(file).open("rb") as lines:
        yield lines
