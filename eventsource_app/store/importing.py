"""An exported log into the event table: positions, ids and times kept, chunk by chunk, each all or nothing.

A chunk holds the table against every append and keeps readers back by a fence of its own, placed just below its first
position; the sequence moves, upward only, just before the commit. Whoever is interrupted starts again: what is stored
already is compared and skipped.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import psycopg
from django.db import DatabaseError, DataError, IntegrityError, connections, transaction

from eventsource_app.store import import_statements as sql
from eventsource_app.store.export_line import ImportRefusedError, check_line
from eventsource_app.store.fence import TAKE_FENCE
from eventsource_app.store.import_lock import lock_event_table, patiently
from eventsource_app.store.session import execute, fetch_all, fetch_one, log_database

CHUNK_LINES = 5000
CHUNK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImportResult:
    """How many events were stored now, and how many stood there already."""

    imported: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.imported:,} events imported, {self.skipped:,} were there already"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Checked lines with their numbers; positions ascend from ``first`` to ``last``."""

    lines: list[tuple[int, bytes]]
    first: int
    last: int


def import_events(
    lines: Iterable[bytes],
    using: str | None = None,
    *,
    chunk_lines: int = CHUNK_LINES,
    on_progress: Callable[[ImportResult], None] = lambda _so_far: None,
) -> ImportResult:
    """Store the lines of an export; raises ``ImportRefusedError`` with everything before that chunk stored.

    Works beside live appends, which wait for a chunk; one that takes a position of the file ends the import. Where a long
    transaction holds the table the import waits, not the appends; ``TableBusyError`` when that takes minutes.
    ``on_progress`` is called with the result so far, when a chunk is committed.
    """
    using = using or log_database()
    if connections[using].in_atomic_block:
        raise RuntimeError("import_events commits chunk by chunk; call it outside of a transaction.")
    so_far = ImportResult(imported=0, skipped=0)
    for chunk in _chunks(lines, chunk_lines):
        stored = patiently(partial(_store, chunk, using), using)
        so_far = ImportResult(so_far.imported + stored, so_far.skipped + len(chunk.lines) - stored)
        on_progress(so_far)
    return so_far


def _chunks(lines: Iterable[bytes], chunk_lines: int) -> Iterator[Chunk]:
    found: list[tuple[int, bytes]] = []
    first = after = size = 0
    for number, line in enumerate(lines, start=1):
        position = check_line(number, line, after)
        first = first if found else position
        after = position
        size += len(line)
        found.append((number, line.rstrip(b"\r\n")))
        if len(found) >= chunk_lines or size >= CHUNK_BYTES:
            yield Chunk(found, first, after)
            found, size = [], 0
    if found:
        yield Chunk(found, first, after)


def _store(chunk: Chunk, using: str, lock_try_ms: int) -> int:
    """Store what is new of a chunk and return how many events that were; raises ``TableBusyError``."""
    try:
        with transaction.atomic(using=using, durable=True):
            _upload(chunk, using)
            # Most of a resumed import is already there: no need to hold anybody up.
            stored_up_to = fetch_one(using, sql.STORED_UP_TO)[0]
            if chunk.last <= stored_up_to:
                _compare(chunk.last, using)
                return 0
            lock_event_table(using, lock_try_ms)
            stored_up_to = fetch_one(using, sql.STORED_UP_TO)[0]
            _compare(stored_up_to, using)
            if chunk.last <= stored_up_to:  # another import of the same log was quicker
                return 0
            return _insert(stored_up_to, chunk.last, using)
    except IntegrityError as error:
        raise ImportRefusedError(
            f"Lines {chunk.lines[0][0]} to {chunk.lines[-1][0]} break {_constraint(error)}: two of them "
            "are the same event, or take the same place; export the log again."
        ) from error
    except DataError as error:
        raise _blame(chunk, using, error) from error


def _upload(chunk: Chunk, using: str) -> None:
    """Hand the lines to the database as they are: Python would change numbers such as 1.10 on the way."""
    execute(using, sql.CREATE_LINES)
    connection = connections[using]
    # Django wraps the call of copy(), not what the server answers at its end.
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(sql.COPY_LINES) as copy:
        for number, line in chunk.lines:
            copy.write_row((number, line.decode()))
    execute(using, sql.CREATE_IMPORTED)


def _compare(stored_up_to: int, using: str) -> None:
    """Refuse another log: what stands at a line's position must be that very event."""
    rows = fetch_all(using, sql.FIRST_DIFFERENCE, (stored_up_to,))
    if rows:
        number, position, event_id, there = rows[0]
        raise ImportRefusedError(
            f"event {event_id} at position {position} is not what the log has there ({there}), and the log goes up to "
            f"position {stored_up_to}; this is another log, so import it into an empty database.",
            number,
        )


def _insert(stored_up_to: int, last: int, using: str) -> int:
    number, first = fetch_one(using, sql.FIRST_NEW, (stored_up_to,))
    execute(using, TAKE_FENCE)
    execute(using, sql.TAKE_FENCE_BELOW, (first,))
    _refuse_if_read(number, first, using)
    _refuse_if_taken(stored_up_to, using)
    count = execute(using, sql.INSERT, (stored_up_to,))
    for number, version, aggregate in fetch_all(using, sql.FIRST_GAP, (stored_up_to,)):
        raise ImportRefusedError(
            f"version {version} of {aggregate} comes without version {version - 1} before it; "
            "import the log from its beginning.",
            number,
        )
    execute(using, sql.RAISE_SEQUENCE, (last,))
    return count


def _refuse_if_read(number: int, first: int, using: str) -> None:
    """Refuse to put events where a subscription has already passed, or may be passing now."""
    for subscription, position in fetch_all(using, sql.CHECKPOINT_AT_OR_ABOVE, (first,)):
        raise ImportRefusedError(
            f"position {first} is not above the checkpoint of subscription {subscription!r} ({position}), "
            "which would never see the event; reset or rebuild that subscription first.",
            number,
        )
    for owner, head in fetch_all(using, sql.LIVE_READER_PAST, (first,)):
        raise ImportRefusedError(
            f"position {first} is not above the last position handed out ({head}), and the running worker {owner!r} "
            "may be past it in memory; stop the workers, import, and start them again.",
            number,
        )


def _refuse_if_taken(stored_up_to: int, using: str) -> None:
    for number, event_id, position in fetch_all(using, sql.FIRST_TAKEN, (stored_up_to,)):
        raise ImportRefusedError(
            f"event {event_id}, or its place in its stream, is already stored at position {position}; "
            "this is another log, so import it into an empty database.",
            number,
        )


def _blame(chunk: Chunk, using: str, error: DataError) -> ImportRefusedError:
    """Find the line that the database cannot read (a NUL character, a number beyond its range)."""
    reason = str(error).partition("\n")[0]
    for number, line in chunk.lines:
        try:
            fetch_one(using, sql.READ_ONE, (line.decode(),))
        except DataError:
            return ImportRefusedError(
                f"the database cannot read it ({reason}); correct it in its source.", number
            )
    return ImportRefusedError(f"Lines {chunk.lines[0][0]} to {chunk.lines[-1][0]}: {reason}.")


def _constraint(error: DatabaseError) -> str:
    cause = error.__cause__
    name = cause.diag.constraint_name if isinstance(cause, psycopg.Error) else None
    return name or "a constraint"
