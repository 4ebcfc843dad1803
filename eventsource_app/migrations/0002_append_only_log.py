"""The log's promises, kept by the database: the append fence, append-only rows, the feed's bound.

The rules are argued in docs/guarantees.md; a changed function is a new migration that replaces it.
"""

from django.db import migrations

SEQUENCE = "eventsource_app_event_position_seq"

# On a fresh sequence last_value is 1 before and after the first draw, so an appender's fence could not be told from
# its first position: position 1 is burned. (A flush may restart the sequence: the functions see that it was not called.)
# Where this migration was taken back the log has events: the sequence is never lowered.
# CACHE 1 keeps draws in the order of last_value.
BURN_FIRST_POSITION = (
    f"ALTER SEQUENCE {SEQUENCE} CACHE 1; SELECT setval('{SEQUENCE}', last_value, true) FROM {SEQUENCE};"
)

REFUSE_CHANGE = """
CREATE FUNCTION eventsource_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' AND current_setting('eventsource.allow_truncate', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'The event log is append-only, so % on % was refused; correct a mistake with a new event.', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'eventsource_append_only';
END $$;

CREATE TRIGGER eventsource_append_only BEFORE UPDATE OR DELETE ON eventsource_app_event
    FOR EACH ROW EXECUTE FUNCTION eventsource_refuse_change();
CREATE TRIGGER eventsource_append_only_truncate BEFORE TRUNCATE ON eventsource_app_event
    FOR EACH STATEMENT EXECUTE FUNCTION eventsource_refuse_change();
"""

DROP_REFUSE_CHANGE = """
DROP TRIGGER eventsource_append_only_truncate ON eventsource_app_event;
DROP TRIGGER eventsource_append_only ON eventsource_app_event;
DROP FUNCTION eventsource_refuse_change();
"""

# Namespace 0x4556 ("EV") in the 16 high bits, the sequence's last_value in the 48 low ones. The key is noted in a
# transaction-local setting that a rolled-back savepoint reverts exactly as it releases the lock, so many appends in
# one transaction take one lock.
# In PL/pgSQL an assignment is cheaper than PERFORM, which runs a whole query.
FENCE_VARIABLES = """
    note text := current_setting('eventsource.fence', true);
    key bigint;"""
FENCE_STEPS = f"""
    IF note IS NULL OR note = '' THEN
        key := coalesce(pg_sequence_last_value('{SEQUENCE}'), 0);
        note := pg_advisory_xact_lock_shared((x'4556'::bigint << 48) | key)::text;
        note := set_config('eventsource.fence', key::text, true);
    END IF;"""
TAKE_FENCE = f"""
CREATE FUNCTION eventsource_take_fence() RETURNS void LANGUAGE plpgsql AS $$
DECLARE{FENCE_VARIABLES}
BEGIN{FENCE_STEPS}
END $$;
"""

# The greatest position that no running append can still go below. Two statements with a snapshot each, in this order:
# an appender that is not listed yet will draw above head; a listed one draws above its key.
READ_BOUND = f"""
CREATE FUNCTION eventsource_read_bound(OUT bound bigint, OUT head bigint) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    fence bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'The event feed reads at READ COMMITTED only, not at %; read it outside this transaction.',
            upper(current_setting('transaction_isolation')) USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'The event feed reads on the primary only, since a standby does not show who is appending; '
            'connect to the primary.' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT last_value - (NOT is_called)::int INTO head FROM {SEQUENCE};
    SELECT min(((classid::bigint & x'ffff'::bigint) << 32) | objid::bigint) INTO fence
      FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND granted
       AND classid::bigint >> 16 = x'4556'::bigint
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND pid IS DISTINCT FROM pg_backend_pid();
    bound := least(head, fence);
END $$;
"""

# expected: n >= 1 exactly n, 0 no stream, -1 any, -2 the stream exists. The outcome is a row, never an exception, so
# that the caller's transaction survives a lost race:
#   appended   stored now                          (version and position of the last event)
#   repeated   the very same events stand there    (version and position of the last event)
#   duplicate  an event id is taken by other content or at another place
#   conflict   the stream is not where it was expected (version: where it is)
# It takes the fence itself, since a call of the function above costs a tenth of the whole append. Only the first row can
# lose a race: once it stands uncommitted, nobody else gets past its version.
APPEND = f"""
CREATE FUNCTION eventsource_append(
    p_aggregate_type text, p_aggregate_id uuid, p_slot smallint, p_expected integer,
    p_event_ids uuid[], p_event_types text[], p_schema_versions smallint[], p_occurred_at timestamptz[],
    p_correlation_ids text[], p_causation_ids uuid[], p_actor_ids text[], p_metadata jsonb[], p_data jsonb[],
    OUT outcome text, OUT version integer, OUT "position" bigint
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    amount integer := cardinality(p_event_ids);
    base integer := greatest(p_expected, 0);
    actual integer;
    found_ids integer;
    same_ids integer;{FENCE_VARIABLES}
BEGIN{FENCE_STEPS}
    LOOP
        IF p_expected <> 0 THEN
            SELECT e.aggregate_version INTO actual FROM eventsource_app_event e
             WHERE e.aggregate_id = p_aggregate_id AND e.aggregate_type = p_aggregate_type
             ORDER BY e.aggregate_version DESC LIMIT 1;
            actual := coalesce(actual, 0);
            EXIT WHEN p_expected > 0 AND actual <> p_expected;
            EXIT WHEN p_expected = -2 AND actual = 0;
            base := actual;
        END IF;
        INSERT INTO eventsource_app_event (
            event_id, event_type, schema_version, aggregate_type, aggregate_id, aggregate_version, slot,
            occurred_at, correlation_id, causation_id, actor_id, metadata, data)
        VALUES (
            p_event_ids[1], p_event_types[1], p_schema_versions[1], p_aggregate_type, p_aggregate_id, base + 1, p_slot,
            p_occurred_at[1], p_correlation_ids[1], p_causation_ids[1], p_actor_ids[1], p_metadata[1], p_data[1])
        ON CONFLICT DO NOTHING
        RETURNING eventsource_app_event.position INTO "position";
        IF FOUND THEN
            IF amount > 1 THEN
                INSERT INTO eventsource_app_event (
                    event_id, event_type, schema_version, aggregate_type, aggregate_id, aggregate_version, slot,
                    occurred_at, correlation_id, causation_id, actor_id, metadata, data)
                SELECT t.event_id, t.event_type, t.schema_version, p_aggregate_type, p_aggregate_id, base + 1 + t.place, p_slot,
                       t.occurred_at, t.correlation_id, t.causation_id, t.actor_id, t.metadata, t.data
                  FROM unnest(p_event_ids[2:], p_event_types[2:], p_schema_versions[2:], p_occurred_at[2:],
                              p_correlation_ids[2:], p_causation_ids[2:], p_actor_ids[2:], p_metadata[2:], p_data[2:])
                       WITH ORDINALITY AS t(event_id, event_type, schema_version, occurred_at,
                              correlation_id, causation_id, actor_id, metadata, data, place)
                 ORDER BY t.place;
                SELECT e.position INTO "position" FROM eventsource_app_event e
                 WHERE e.aggregate_id = p_aggregate_id AND e.aggregate_type = p_aggregate_type
                   AND e.aggregate_version = base + amount;
            END IF;
            outcome := 'appended';
            version := base + amount;
            RETURN;
        END IF;
        -- With -1 and -2 the place is ours to choose: look again, unless it is the event id that is taken.
        EXIT WHEN p_expected >= 0 OR EXISTS (
            SELECT FROM eventsource_app_event e WHERE e.event_id = p_event_ids[1]);
    END LOOP;

    SELECT count(*),
           count(*) FILTER (WHERE e.aggregate_id = p_aggregate_id AND e.aggregate_type = p_aggregate_type
                              AND e.event_type = t.event_type AND e.schema_version = t.schema_version AND e.data = t.data),
           max(e.aggregate_version), max(e.position)
      INTO found_ids, same_ids, version, "position"
      FROM unnest(p_event_ids, p_event_types, p_schema_versions, p_data) WITH ORDINALITY
           AS t(event_id, event_type, schema_version, data, place)
      JOIN eventsource_app_event e ON e.event_id = t.event_id;
    IF found_ids > 0 THEN
        outcome := 'duplicate';
        IF same_ids = amount AND (p_expected < 0 OR version = p_expected + amount) AND NOT EXISTS (
            SELECT FROM unnest(p_event_ids) WITH ORDINALITY AS t(event_id, place)
              JOIN eventsource_app_event e ON e.event_id = t.event_id
             WHERE e.aggregate_version <> version - amount + t.place)
        THEN
            outcome := 'repeated';
        END IF;
        RETURN;
    END IF;
    outcome := 'conflict';
    "position" := NULL;
    SELECT e.aggregate_version INTO version FROM eventsource_app_event e
     WHERE e.aggregate_id = p_aggregate_id AND e.aggregate_type = p_aggregate_type
     ORDER BY e.aggregate_version DESC LIMIT 1;
    version := coalesce(version, 0);
END $$;
"""

DROP_FUNCTIONS = """
DROP FUNCTION eventsource_append;
DROP FUNCTION eventsource_read_bound;
DROP FUNCTION eventsource_take_fence;
"""


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0001_initial")]

    operations = [
        migrations.RunSQL(BURN_FIRST_POSITION, migrations.RunSQL.noop),
        migrations.RunSQL(REFUSE_CHANGE, DROP_REFUSE_CHANGE),
        migrations.RunSQL(TAKE_FENCE + READ_BOUND + APPEND, DROP_FUNCTIONS),
    ]
