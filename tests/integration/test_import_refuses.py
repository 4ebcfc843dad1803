"""An import refuses another log, other content, and what would lie behind a checkpoint."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from eventsource_app.models import Checkpoint, Event
from eventsource_app.store import ExpectedVersion
from eventsource_app.store.export_line import ImportRefusedError
from tests.builders import a_store, a_stream, payments
from tests.integration.log_files import exported, fill_log, import_log, moved, truncate

pytestmark = pytest.mark.django_db(transaction=True)


def _changed(log: bytes, number: int, **values: object) -> bytes:
    lines = log.splitlines()
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **values}).encode()
    return b"\n".join(lines)


def test_a_line_that_cannot_be_is_named() -> None:
    fill_log(20)
    log = exported()
    truncate()
    lines = log.splitlines()
    missing = json.dumps(
        {key: value for key, value in json.loads(lines[2]).items() if key != "data"}
    ).encode()
    for bad, words in (
        (b"{not json", "Line 3: the line: Invalid JSON"),
        (missing, "Line 3: data: Field required"),
        (lines[1], "Line 3: position"),
        (_changed(log, 3, data={"a": "\0"}).splitlines()[2], "Line 3: the database cannot read it"),
        (_changed(log, 3, extra=1).splitlines()[2], "Line 3: extra"),
        (_changed(log, 3, aggregate_version=30).splitlines()[2], "Line 3: version 30"),
        (_changed(log, 3, event_id=json.loads(lines[0])["event_id"]).splitlines()[2], "eventsource_event_id"),
    ):
        with pytest.raises(ImportRefusedError, match=words):
            import_log(b"\n".join([*lines[:2], bad]))
        assert not Event.objects.exists()


def test_another_log_is_refused() -> None:
    fill_log(20)
    log = exported()
    truncate()
    stream = a_stream()
    a_store().append(stream, payments(stream, 1), ExpectedVersion.NO_STREAM)
    with pytest.raises(ImportRefusedError, match=r"Line 1: event .* this is another log"):
        import_log(log)
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    "change", [{"data": {"price": 1.1}}, {"event_id": str(uuid4())}, {"actor_id": "someone"}]
)
def test_a_stored_event_with_other_content_is_refused(change: dict[str, object]) -> None:
    fill_log(20)
    with pytest.raises(ImportRefusedError, match=r"Line 7: event .* another log"):
        import_log(_changed(exported(), 7, **change))


def test_an_event_that_is_stored_at_another_position_is_refused() -> None:
    fill_log(20)
    with pytest.raises(ImportRefusedError, match=r"Line 1: .* already stored at position"):
        import_log(b"\n".join(moved(line, 1000) for line in exported().splitlines()))


def test_nothing_is_put_behind_a_checkpoint_or_a_running_worker() -> None:
    fill_log(20)
    log = exported()
    top = json.loads(log.splitlines()[-1])["position"]
    truncate()
    checkpoint = Checkpoint.objects.create(subscription="orders", position=top)
    with pytest.raises(ImportRefusedError, match="not above the checkpoint of subscription 'orders'"):
        import_log(log)
    Checkpoint.objects.update(position=0, owner="worker-1", lease_expires_at="2999-01-01T00:00:00Z")
    with pytest.raises(ImportRefusedError, match="running worker 'worker-1'"):
        import_log(log)
    checkpoint.delete()
    assert import_log(log).imported == 20


def test_the_command_says_why_it_refuses(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"nonsense\n")
    with pytest.raises(
        CommandError, match=r"is refused\. Line 1.* Before that: 0 events imported, 0 were there"
    ):
        call_command("import_events", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("import_events", str(tmp_path / "nowhere"))
