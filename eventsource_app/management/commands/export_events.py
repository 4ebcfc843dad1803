"""``manage.py export_events FILE``: the whole log as JSON Lines."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from eventsource_app.management.operating import LogCommand
from eventsource_app.management.termination import interrupted, stopped_by_signals
from eventsource_app.observability.progress import Progress
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.exporting import export_events


class Command(LogCommand):
    help = (
        "Writes every event, one JSON object per line in order of position, payloads exactly as stored. "
        "FILE appears when it is complete; a pipe or a device is written to straight, and - is standard output."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", metavar="FILE", help="the file to write, or - for standard output")

    def handle(self, *_arguments: Any, file: str, database: str, **_options: Any) -> None:
        to_stdout = file == "-" or _is_standard_output(file)
        progress = Progress("export_events", "events", EventStore(database).head_position())
        try:
            with stopped_by_signals(), _standard_output() if to_stdout else _output(file) as output:
                count = export_events(output, database, on_progress=progress.advance)
        except OSError as error:
            progress.leave()
            raise CommandError(
                f"{file!r} cannot be written ({error.strerror}); choose another FILE."
            ) from error
        except KeyboardInterrupt as interrupt:
            progress.leave()
            raise interrupted(
                interrupt,
                f"{progress.done:,} events were written, not all; run it again to have a whole file",
            ) from None
        progress.total = count
        progress.finish()
        if not to_stdout:  # it would stand behind the last event
            self.stdout.write(f"{count:,} events exported to {file}.")


def _is_standard_output(file: str) -> bool:
    """Say whether the name leads to where ``-`` does, as /dev/stdout."""
    try:
        return os.path.samestat(Path(file).stat(), os.fstat(1))
    except OSError:
        return False


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """Open a file under a name of its own, and give it its name when it is complete and on the disk.

    A pipe or a device stays what it is and is written to straight; a link stays, and its file is replaced.
    """
    if _is_special(Path(file)):
        with Path(file).open("wb") as output:
            yield output
        return
    target = Path(file).resolve()
    beginning = target.name[
        :50
    ]  # so that whatever can be FILE's name leaves room for the rest, which a folder bounds
    unfinished = target.with_name(f".{beginning}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Say whether something is there that is no file; raises ``OSError`` for a loop of links."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
