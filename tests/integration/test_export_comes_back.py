"""The log leaves and comes back unchanged, in pages that bound memory and round trips."""

import json
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from eventsource_app.models import Event
from eventsource_app.store import ExpectedVersion, paging
from eventsource_app.store.session import Row, fetch_all
from eventsource_app.store.slots import slot_of
from eventsource_app.store.text_cursor import TextCursor
from tests.builders import a_store, a_stream, note, payments
from tests.integration.log_files import exported, fill_log, import_log, truncate, verified

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.slow
def test_a_hundred_thousand_events_come_back_byte_for_byte(tmp_path: Path) -> None:
    fill_log(100_000)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    call_command("export_events", str(first), stdout=StringIO())
    truncate()
    call_command("import_events", str(first), stdout=StringIO())
    call_command("export_events", str(second), stdout=StringIO())
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().count(b"\n") == 100_000
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["first.jsonl", "second.jsonl"]


def test_a_line_has_every_column_in_one_order_and_is_json() -> None:
    stream = a_stream()
    a_store().append(stream, [note(stream, {"a": 1})], ExpectedVersion.NO_STREAM)
    line = json.loads(exported())
    assert list(line) == [
        *(
            "position",
            "event_id",
            "event_type",
            "schema_version",
            "aggregate_type",
            "aggregate_id",
            "aggregate_version",
        ),
        *(
            "slot",
            "occurred_at",
            "recorded_at",
            "correlation_id",
            "causation_id",
            "actor_id",
            "metadata",
            "data",
        ),
    ]
    assert line["data"] == {"note": {"a": 1}}


def test_the_export_stops_below_an_append_that_still_runs() -> None:
    stream = a_stream()
    a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT eventsource_take_fence()")
            late = a_stream()
            a_store().append(late, payments(late, 1), ExpectedVersion.NO_STREAM)
            assert exported().count(b"\n") == 1
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert exported().count(b"\n") == 2


def test_appends_go_on_above_what_was_imported() -> None:
    fill_log(20)
    log = exported()
    truncate()
    top = json.loads(log.splitlines()[-1])["position"] + 1000
    moved = log.splitlines()[:1]
    line = json.loads(moved[0]) | {"position": top, "slot": 3}
    import_log(json.dumps(line).encode())
    stream = a_stream()
    assert a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM).position > top
    assert Event.objects.get(position=top).slot == slot_of(Event.objects.get(position=top).aggregate_id)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What each page asked for, how many rows came, and their bytes; a page has 20,000 bytes."""
    pages: list[tuple[int, int, int]] = []

    def noted(using: str, statement: str, params: Sequence[Any], kind: type[TextCursor]) -> list[Row]:
        rows = fetch_all(using, statement, params, kind)
        pages.append((params[-2], len(rows), rows[-1][-2] if rows else 0))
        return rows

    monkeypatch.setattr(paging, "fetch_all", noted)
    monkeypatch.setattr(paging, "PAGE_BYTES", 20_000)
    return pages


def _append_notes(*sizes: int) -> None:
    stream = a_stream()
    a_store().append(
        stream,
        [note(stream, "x" * size, version) for version, size in enumerate(sizes, start=1)],
        ExpectedVersion.NO_STREAM,
    )


READERS = pytest.mark.parametrize("read", [lambda: exported(), lambda: verified()], ids=["export", "verify"])


@READERS
def test_a_page_of_large_events_has_few_rows(
    read: Callable[[], object], asked: list[tuple[int, int, int]]
) -> None:
    """Also where the small ones before them had promised room for many."""
    _append_notes(*[1] * 30, *[6_000] * 40, *[50_000] * 3, *[1] * 30)
    read()
    assert asked[0][0] == paging.FIRST_ROWS
    assert all(size < 20_000 + 50_500 for *_, size in asked)
    wanted_after_large = [
        after[0] for before, after in pairwise(asked) if before[1] and before[2] / before[1] > 5_000
    ]
    assert len(wanted_after_large) > 10
    assert max(wanted_after_large) <= 4
    assert sum(count for _, count, _ in asked) == 103


@READERS
def test_small_events_come_in_few_round_trips(
    read: Callable[[], object], asked: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 4 * 1024 * 1024)
    fill_log(2000)
    read()
    assert [count for _, count, _ in asked] == [20, 500, 500, 500, 480, 0]
