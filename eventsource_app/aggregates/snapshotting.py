"""Taking and restoring snapshots: never in the way of a save or a load."""

import json
import logging
from functools import cached_property
from hashlib import sha256
from typing import Generic, TypeVar

from django.db import DatabaseError, transaction
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from eventsource_app.aggregates.aggregate import AggregateRoot, state_type_of
from eventsource_app.aggregates.snapshot_policy import SnapshotPolicy
from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.store.snapshots import StoredSnapshot, checksum_of, load_snapshot, save_snapshot
from eventsource_app.store.streams import StreamId

logger = logging.getLogger(__name__)
State = TypeVar("State")


class UnfaithfulSnapshotError(EventSourceError):
    """A snapshot would give another state than the replay does."""


class StateShape(GenerateJsonSchema):
    """A JSON schema without the warnings: a default that JSON does not know is left out, and nobody need hear of it."""

    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}


class Snapshotter(Generic[State]):
    """The snapshots of one aggregate class."""

    def __init__(
        self, store: EventStore, aggregate_class: type[AggregateRoot[State]], policy: SnapshotPolicy
    ) -> None:
        self._store = store
        self._class = aggregate_class
        self._policy = policy
        self._states: TypeAdapter[State] = TypeAdapter(state_type_of(aggregate_class))
        self._fingerprint: tuple[object, str] = (None, "")

    def restore(self, aggregate: AggregateRoot[State], stream: StreamId) -> bool:
        """Bring the aggregate to its snapshot and past it; any doubt is a log line and False: replay the whole stream."""
        snapshot = load_snapshot(self._store.using, stream)
        if snapshot is None:
            return False
        # The event at the snapshot's own version is read too: it proves that the snapshot is of this log.
        recorded = self._store.read_stream(stream, from_version=snapshot.version)
        doubt = self._doubt(snapshot, recorded)
        if doubt is None:
            try:
                state = self._read(snapshot.state)
            except Exception as error:  # whatever the state's own validators raise
                doubt = f"its state cannot be read ({type(error).__name__})"
        if doubt is not None:
            extra = {
                "aggregate_type": stream.aggregate_type,
                "aggregate_id": str(stream.aggregate_id),
                "reason": doubt,
            }
            logger.warning("Snapshot ignored, the whole stream is replayed", extra=extra)
            return False
        aggregate.restore(state, snapshot.version, snapshot.position)
        aggregate.load_from_history(item.event for item in recorded[1:])
        aggregate.mark_stored(recorded[-1].position)
        return True

    def take_if_due(
        self, aggregate: AggregateRoot[State], stream: StreamId, before: int, last: RecordedEvent
    ) -> None:
        """Write a snapshot after the commit if the save that ended with ``last`` crossed the policy's line."""
        if not self._policy.is_due(before, aggregate.version):
            return
        try:
            snapshot = self._take(aggregate, last)
            # Refused with autocommit off, where Django would not see the commit.
            transaction.on_commit(lambda: self._save(stream, snapshot), using=self._store.using, robust=True)
        except Exception as error:  # a snapshot that cannot be had must not look like a failed save
            self._report(stream, error)

    def fingerprint(self) -> str:
        """Digest what decides how events become this state: the class, its state's shape, its events' schema versions.

        Every restore asks, so it is kept until the registry has another edition.
        """
        # Read before the classes: what is registered meanwhile then makes the next call work it out again.
        edition = self._store.registry.edition
        kept = self._fingerprint
        if kept[0] is not edition:
            kept = self._fingerprint = (edition, self._digest())
        return kept[1]

    def _digest(self) -> str:
        versions = self._store.registry.schema_versions(self._class.aggregate_type)
        name = f"{self._class.__module__}.{self._class.__qualname__}"
        return sha256(json.dumps([name, self._shape, versions], sort_keys=True).encode()).hexdigest()

    @cached_property
    def _shape(self) -> str:
        """The state's JSON schema; empty where pydantic cannot make one."""
        try:
            return json.dumps(self._states.json_schema(schema_generator=StateShape), sort_keys=True)
        except Exception:  # pydantic's own are of many kinds, and the state's hooks may raise any
            return ""

    def _doubt(self, snapshot: StoredSnapshot, recorded: list[RecordedEvent]) -> str | None:
        if snapshot.schema_version != self._class.schema_version:
            return f"it has schema version {snapshot.schema_version}, not {self._class.schema_version}"
        if snapshot.fingerprint != self.fingerprint():
            return "its class, the shape of its state or the schema versions of its events have changed"
        if not snapshot.is_intact():
            return "its state does not match its checksum"
        if not recorded or recorded[0].event_id != snapshot.event_id:
            return f"the log has another event, or none, at its version {snapshot.version}"
        return None

    def _take(self, aggregate: AggregateRoot[State], last: RecordedEvent) -> StoredSnapshot:
        state = self._faithful_json(aggregate.state)
        return StoredSnapshot(
            version=aggregate.version,
            schema_version=self._class.schema_version,
            fingerprint=self.fingerprint(),
            event_id=last.event_id,
            position=last.position,
            state=state,
            checksum=checksum_of(state),
        )

    def _faithful_json(self, state: State) -> str:
        """Return the state as JSON text, which ``restore`` reads as this very state."""
        text = self._states.dump_json(state).decode()
        try:
            restored = self._read(text)
        except Exception as error:  # whatever the state's own validators raise
            raise UnfaithfulSnapshotError(
                f"The {type(state).__qualname__} cannot be read back from its JSON ({type(error).__name__})."
            ) from error
        _check_same(state, restored)
        return text

    def _read(self, state: str) -> State:
        """Read a state by its fields' names, as it was written, and by their aliases, as its class may say."""
        return self._states.validate_json(state, by_name=True)

    def _save(self, stream: StreamId, snapshot: StoredSnapshot) -> None:
        try:
            save_snapshot(self._store.using, stream, snapshot)
        except DatabaseError as error:
            self._report(stream, error)

    def _report(self, stream: StreamId, error: Exception) -> None:
        extra = {
            "aggregate_type": stream.aggregate_type,
            "aggregate_id": str(stream.aggregate_id),
            "reason": f"{type(error).__name__}: {error}".partition("\n")[0],
        }
        logger.warning("Snapshot not taken; loads replay more events until the next one", extra=extra)


def _check_same(state: object, restored: object) -> None:
    name = type(state).__qualname__
    if type(restored) is not type(state):
        raise UnfaithfulSnapshotError(
            f"The state is a {name}, but a {type(restored).__qualname__} is read back from its JSON."
        )
    if type(state).__eq__ is object.__eq__:
        raise UnfaithfulSnapshotError(
            f"{name} defines no __eq__, so what is read back from its JSON cannot be compared with the state."
        )
    if restored != state:
        raise UnfaithfulSnapshotError(f"The {name} that is read back from its JSON does not equal the state.")
