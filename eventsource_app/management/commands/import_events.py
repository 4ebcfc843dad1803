"""``manage.py import_events FILE``: an exported log, positions and ids kept."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from eventsource_app.management.operating import LogCommand
from eventsource_app.management.termination import interrupted, stopped_by_signals
from eventsource_app.observability.progress import Progress
from eventsource_app.store.export_line import ImportRefusedError
from eventsource_app.store.import_lock import TableBusyError
from eventsource_app.store.importing import CHUNK_LINES, ImportResult, import_events


class Command(LogCommand):
    help = (
        "Imports what export_events wrote: positions, ids and times are kept. After an interruption, run it again: "
        "what is stored already is compared and skipped. A log that does not continue this one is refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="the file to read, or - for standard input")
        parser.add_argument(
            "--chunk-lines",
            type=_line_count,
            default=CHUNK_LINES,
            help="lines per transaction (default: %(default)s)",
        )

    def handle(self, *_arguments: Any, file: str, database: str, chunk_lines: int, **_options: Any) -> None:
        state = _State()
        with _sentences(file, state), stopped_by_signals(), _input(file) as lines:
            state.progress.total = _count(lines)
            import_events(lines, database, chunk_lines=chunk_lines, on_progress=state.note)
        state.progress.finish()
        self.stdout.write(f"{state.so_far}.")


class _State:
    """How far the import is, for its progress and for the sentence at an early end."""

    def __init__(self) -> None:
        self.progress = Progress("import_events", "events")
        self.so_far = ImportResult(imported=0, skipped=0)

    def note(self, so_far: ImportResult) -> None:
        self.so_far = so_far
        self.progress.advance(so_far.imported + so_far.skipped - self.progress.done)


@contextmanager
def _sentences(file: str, state: _State) -> Iterator[None]:
    """Turn an early end into a command's, with what was stored before it."""
    try:
        yield
    except OSError as error:
        state.progress.leave()
        raise CommandError(f"{file!r} cannot be read ({error.strerror}); check its name.") from error
    except ImportRefusedError as error:
        state.progress.leave()
        raise CommandError(
            f"{file} is refused. {error} Before that: {state.so_far}; run it again with a mended file to go on from there."
        ) from error
    except TableBusyError as error:
        state.progress.leave()
        raise CommandError(f"{error} Before that: {state.so_far}.") from error
    except KeyboardInterrupt as interrupt:
        state.progress.leave()
        raise interrupted(interrupt, f"{state.so_far}; run it again to go on from there") from None


def _line_count(text: str) -> int:
    if not text.isdecimal() or (number := int(text)) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of lines from 1")
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
