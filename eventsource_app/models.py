"""The tables. The hot paths write them with SQL of their own; these models serve the admin, migrations and the rest."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Now

SLOTS = 1024


class ClockTimestamp(Now):
    """The wall clock on the server: unlike ``now()`` it does not stand still inside a transaction."""

    template = "CLOCK_TIMESTAMP()"

    def as_postgresql(self, compiler, connection, **extra):  # type: ignore[no-untyped-def]
        return self.as_sql(compiler, connection, template="CLOCK_TIMESTAMP()", **extra)


class Event(models.Model):
    """One stored event. Append-only: the database refuses UPDATE and DELETE (see the migrations)."""

    position = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=200)
    schema_version = models.SmallIntegerField(default=1)
    aggregate_type = models.CharField(max_length=200)
    aggregate_id = models.UUIDField()
    aggregate_version = models.IntegerField()
    # sha256(aggregate id as text) modulo 1024: a partition is slot modulo the number of partitions.
    slot = models.SmallIntegerField()
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=ClockTimestamp())
    correlation_id = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - absent, not empty
    causation_id = models.UUIDField(null=True, blank=True)
    actor_id = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - absent, not empty
    metadata = models.JSONField(default=dict)
    data = models.JSONField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["aggregate_id", "aggregate_type", "aggregate_version"],
                name="eventsource_event_stream_version",
            ),
            models.UniqueConstraint(fields=["event_id"], name="eventsource_event_id"),
            models.CheckConstraint(
                condition=models.Q(aggregate_version__gte=1), name="eventsource_event_version_positive"
            ),
            models.CheckConstraint(
                condition=models.Q(slot__gte=0, slot__lt=SLOTS), name="eventsource_event_slot_range"
            ),
        ]
        indexes: ClassVar = [
            # For people who search: about one byte per event, and nothing to write at an append (docs/log-growth.md).
            BrinIndex(
                fields=["correlation_id"],
                opclasses=["text_bloom_ops"],
                autosummarize=True,
                name="eventsource_event_correlation",
            )
        ]

    def __str__(self) -> str:
        return f"{self.event_type} v{self.aggregate_version} of {self.aggregate_type} {self.aggregate_id} at {self.position}"


class Snapshot(models.Model):
    """The state of one aggregate at one version; a mere shortcut, so it may always be deleted."""

    aggregate_type = models.CharField(max_length=200)
    aggregate_id = models.UUIDField()
    version = models.IntegerField()
    schema_version = models.IntegerField(default=1)
    # A digest of the aggregate's class, its state's shape and the schema versions of its events: when one of them
    # changes, the snapshot is stale.
    fingerprint = models.CharField(max_length=64)
    # The event at that version: in a restored log another one may stand there.
    event_id = models.UUIDField()
    position = models.BigIntegerField()
    # JSON as it was written, with its digest: text, since jsonb would reorder it.
    state = models.TextField()
    checksum = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["aggregate_id", "aggregate_type"], name="eventsource_snapshot_aggregate"
            )
        ]

    def __str__(self) -> str:
        return f"{self.aggregate_type} {self.aggregate_id} at version {self.version}"


class Checkpoint(models.Model):
    """How far one partition of a subscription has come, who owns it, and what happened on the way."""

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        STOPPED = "stopped"
        REBUILDING = "rebuilding"

    class Breaker(models.TextChoices):
        CLOSED = "closed"
        OPEN = "open"
        HALF_OPEN = "half_open"

    subscription = models.CharField(max_length=200)
    partition = models.SmallIntegerField(default=0)
    partition_count = models.SmallIntegerField(default=1)
    position = models.BigIntegerField(default=0)

    # Ownership: a lease with a fencing epoch, on the database's clock.
    owner = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - absent, not empty
    epoch = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    # Process killers: takeovers without a graceful stop at an unchanged position, and the event tried alone.
    unclean_takeover_count = models.IntegerField(default=0)
    careful_position = models.BigIntegerField(null=True, blank=True)
    careful_death_count = models.IntegerField(default=0)

    state = models.CharField(max_length=20, choices=State, default=State.RUNNING)
    state_reason = models.TextField(blank=True, default="")
    state_changed_at = models.DateTimeField(null=True, blank=True)
    state_changed_by = models.CharField(max_length=200, blank=True, default="")
    parked_generation = models.BigIntegerField(default=0)
    handled_types = ArrayField(models.CharField(max_length=200), null=True, blank=True)
    rebuild_target = models.BigIntegerField(null=True, blank=True)
    rebuild_started_at = models.DateTimeField(null=True, blank=True)

    breaker = models.CharField(max_length=20, choices=Breaker, default=Breaker.CLOSED)
    breaker_opened_at = models.DateTimeField(null=True, blank=True)

    # Cumulative counters; they move in the checkpoint's own transaction.
    events_processed = models.BigIntegerField(default=0)
    events_failed = models.BigIntegerField(default=0)
    retry_count = models.BigIntegerField(default=0)
    batch_count = models.BigIntegerField(default=0)
    last_error = models.TextField(blank=True, default="")
    last_error_at = models.DateTimeField(null=True, blank=True)
    last_event_at = models.DateTimeField(null=True, blank=True)
    # When the position last changed: events that wait while it stands still are a frozen feed.
    moved_at = models.DateTimeField(db_default=ClockTimestamp())
    started_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    updated_at = models.DateTimeField(db_default=ClockTimestamp())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscription", "partition"], name="eventsource_checkpoint_partition"
            ),
            models.CheckConstraint(
                condition=models.Q(partition__gte=0, partition__lt=models.F("partition_count")),
                name="eventsource_checkpoint_partition_range",
            ),
        ]
        verbose_name_plural = "subscriptions"
        permissions: ClassVar = [
            ("pause_checkpoint", "Can pause and resume subscriptions"),
            ("rebuild_checkpoint", "Can rebuild read models"),
            ("repartition_checkpoint", "Can change the number of partitions"),
            ("reset_checkpoint", "Can reset checkpoints"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription} {self.partition}/{self.partition_count} at {self.position}"


class DeadLetter(models.Model):
    """An event that a subscription could not handle, parked with its aggregate until it can be."""

    class State(models.TextChoices):
        PARKED = "parked"
        RETRYING = "retrying"
        DEAD = "dead"
        RESOLVED = "resolved"
        DISCARDED = "discarded"

    subscription = models.CharField(max_length=200)
    position = models.BigIntegerField()
    event_id = models.UUIDField()
    event_type = models.CharField(max_length=200)
    aggregate_type = models.CharField(max_length=200)
    aggregate_id = models.UUIDField()
    slot = models.SmallIntegerField()
    state = models.CharField(max_length=20, choices=State, default=State.PARKED)
    scope = models.CharField(max_length=20, default="aggregate")

    error_type = models.CharField(max_length=300)
    error_message = models.TextField()
    traceback = models.TextField(blank=True, default="")
    category = models.CharField(max_length=20)
    severity = models.CharField(max_length=20)
    # Failed attempts after the first one.
    retry_count = models.IntegerField(default=0)
    next_retry_at = models.DateTimeField(null=True, blank=True)
    # Once the event is handled or discarded, the later events of its aggregate are replayed up to the checkpoint; until
    # they have caught up the aggregate stays parked. Null when nothing is left to replay.
    replayed_through = models.BigIntegerField(null=True, blank=True)
    # The event that is being tried, committed before the attempt, and how many processes have died at it so far.
    tried_position = models.BigIntegerField(null=True, blank=True)
    tried_at = models.DateTimeField(null=True, blank=True)
    lost_attempt_count = models.SmallIntegerField(db_default=0)
    first_failed_at = models.DateTimeField(db_default=ClockTimestamp())
    last_failed_at = models.DateTimeField(db_default=ClockTimestamp())
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=200, blank=True, default="")
    close_reason = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscription", "position"], name="eventsource_deadletter_position"
            )
        ]
        indexes: ClassVar = [
            # The open ones are few: what workers, health and the desk look at.
            models.Index(
                fields=["subscription", "aggregate_id", "position"],
                name="eventsource_deadletter_open",
                condition=models.Q(state__in=["parked", "retrying", "dead"])
                | models.Q(replayed_through__isnull=False),
            )
        ]
        permissions: ClassVar = [
            ("retry_deadletter", "Can retry dead letters"),
            ("discard_deadletter", "Can discard dead letters"),
        ]

    def __str__(self) -> str:
        return f"{self.subscription}: {self.event_type} at {self.position} ({self.state})"


class WorkerHeartbeat(models.Model):
    """A worker process that is alive: what it can run, and when its loops last moved."""

    worker_id = models.CharField(max_length=200, primary_key=True)
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    phase = models.CharField(max_length=20, default="running")
    subscriptions = ArrayField(models.CharField(max_length=200), default=list)
    started_at = models.DateTimeField(db_default=ClockTimestamp())
    beat_at = models.DateTimeField(db_default=ClockTimestamp())

    def __str__(self) -> str:
        return f"{self.worker_id} ({self.phase})"


class SubscriptionSample(models.Model):
    """How far behind a partition was at one moment, for the desk's charts (see ``subscriptions.history``)."""

    subscription = models.CharField(max_length=200)
    partition = models.SmallIntegerField()
    # The number of the moment modulo how many are kept: a later round overwrites it, so the table is bounded by itself.
    tick = models.SmallIntegerField()
    sampled_at = models.DateTimeField()
    lag_events = models.BigIntegerField()
    lag_seconds = models.FloatField()
    # Cumulative, as on the checkpoint: two samples give the rate between them.
    events_processed = models.BigIntegerField()
    events_failed = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscription", "partition", "tick"], name="eventsource_sample_tick"
            )
        ]

    def __str__(self) -> str:
        return f"{self.subscription} {self.partition}: {self.lag_events} behind at {self.sampled_at}"


class IdempotencyKey(models.Model):
    """The answer to a request that carried an Idempotency-Key, stored in the transaction of what the request did."""

    # Derived from the caller and the key, neither of which is kept.
    id = models.UUIDField(primary_key=True)
    # A digest of the method, the path, If-Match and the body: another request must not get this answer.
    fingerprint = models.BinaryField()
    status = models.SmallIntegerField()
    headers = models.JSONField()
    body = models.BinaryField()
    created_at = models.DateTimeField(db_default=ClockTimestamp(), db_index=True)

    def __str__(self) -> str:
        return f"{self.id}: {self.status}"


class ApiToken(models.Model):
    """A caller's credentials for the API. Of the token itself only a digest is kept."""

    # Two tokens of one name are one caller: give a new token the old one's name, then revoke the old one.
    name = models.CharField(max_length=100)
    # The token's public half: what finds the row, and what an operator calls the token by.
    prefix = models.CharField(max_length=20, unique=True)
    digest = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=100))
    created_at = models.DateTimeField(db_default=ClockTimestamp())
    created_by = models.CharField(max_length=200, blank=True, default="")
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=200, blank=True, default="")
    # To the minute.
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API token"
        permissions: ClassVar = [
            ("revoke_apitoken", "Can revoke API tokens"),
            ("read_api", "Can use the API's read scopes when logged in"),
            ("write_api", "Can use the API's write scopes when logged in"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Throttle(models.Model):
    """How many requests a caller may still make. UNLOGGED: after a crash every caller starts afresh."""

    caller = models.CharField(max_length=200, primary_key=True)
    permits = models.FloatField()
    # What the last taker was given.
    granted = models.IntegerField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.caller}: {self.permits:.1f}"
