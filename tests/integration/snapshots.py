"""What there is of a snapshot, and what the log says of it."""

from uuid import UUID

import pytest

from eventsource_app.models import Snapshot

IGNORED = "Snapshot ignored, the whole stream is replayed"
NOT_TAKEN = "Snapshot not taken; loads replay more events until the next one"
CODE_CHANGED = "its class, the shape of its state or the schema versions of its events have changed"


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["reason"] for record in caplog.records if record.message in (IGNORED, NOT_TAKEN)]


def snapshot_version(account_id: UUID) -> int | None:
    return Snapshot.objects.filter(aggregate_id=account_id).values_list("version", flat=True).first()
