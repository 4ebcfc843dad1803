"""What the campaign keeps beside the engine's tables: read models that show loss, doubling and disorder, and traps."""

import random
from typing import Any
from uuid import UUID

import psycopg

# chaos_line has no key: an event that is delivered twice has two lines; `number` is the order of delivery.
# chaos_fold is read-modify-write, and its digest depends on the order.
# A trap is sprung at one event of one subscription (NULL: at every event) until it is healed.
# chaos_once is violated only at COMMIT. chaos_rebuild notes what the counters were when a read model was emptied.
TABLES = """
CREATE TABLE chaos_line (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subscription text NOT NULL, position bigint NOT NULL,
    aggregate_id uuid NOT NULL, version int NOT NULL, amount bigint NOT NULL);
CREATE TABLE chaos_fold (
    subscription text NOT NULL, aggregate_id uuid NOT NULL, version int NOT NULL, event_count int NOT NULL,
    amount bigint NOT NULL, digest text NOT NULL, PRIMARY KEY (subscription, aggregate_id));
CREATE TABLE chaos_trap (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subscription text NOT NULL, aggregate_id uuid, version int,
    kind text NOT NULL, heals_at timestamptz NOT NULL, healed_at timestamptz);
CREATE INDEX chaos_trap_set ON chaos_trap (subscription) WHERE healed_at IS NULL;
CREATE TABLE chaos_once (number int UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE chaos_rebuild (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subscription text NOT NULL, processed_before bigint NOT NULL);
"""
DROP = "DROP TABLE IF EXISTS chaos_line, chaos_fold, chaos_trap, chaos_once, chaos_rebuild"
SET_TRAP = """
INSERT INTO chaos_trap (subscription, aggregate_id, version, kind, heals_at)
VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))
"""
HEAL = "UPDATE chaos_trap SET healed_at = clock_timestamp() WHERE healed_at IS NULL AND (%s OR heals_at <= clock_timestamp())"

# Every other append goes to one of the first few aggregates, where the traps are.
AGGREGATES, HOT_AGGREGATES = 120, 15

Database = psycopg.Connection[Any]


def aggregate_ids(count: int = AGGREGATES) -> list[UUID]:
    """The aggregates that all writers share, the same for everybody."""
    numbers = random.Random(4)
    return [UUID(int=numbers.getrandbits(128), version=4) for _ in range(count)]


def heal(database: Database, *, everything: bool = False) -> int:
    """Take away the traps whose time has come, or all; return how many."""
    return database.execute(HEAL, (everything,)).rowcount
