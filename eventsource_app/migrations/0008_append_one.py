"""A function for the commonest append, one event: its scalars cost the server less than arrays of one."""

from importlib import import_module

from django.db import migrations

log = import_module("eventsource_app.migrations.0002_append_only_log")

# With the event in place nothing else is asked. Whatever else it may be (a lost race, a repeated append, a taken id, an
# append at no given version) is eventsource_append's to find out. The condition stands alone: within an OR beside a cheap
# one, PostgreSQL would plan it anew for each call.
APPEND_ONE = f"""
CREATE FUNCTION eventsource_append_one(
    p_aggregate_type text, p_aggregate_id uuid, p_slot smallint, p_expected integer,
    p_event_id uuid, p_event_type text, p_schema_version smallint, p_occurred_at timestamptz,
    p_correlation_id text, p_causation_id uuid, p_actor_id text, p_metadata jsonb, p_data jsonb,
    OUT outcome text, OUT version integer, OUT "position" bigint
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    is_in_place boolean := p_expected = 0;{log.FENCE_VARIABLES}
BEGIN{log.FENCE_STEPS}
    IF p_expected > 0 THEN
        SELECT true INTO is_in_place FROM eventsource_app_event e
         WHERE e.aggregate_id = p_aggregate_id AND e.aggregate_type = p_aggregate_type AND e.aggregate_version = p_expected;
    END IF;
    IF is_in_place THEN
        INSERT INTO eventsource_app_event (
            event_id, event_type, schema_version, aggregate_type, aggregate_id, aggregate_version, slot,
            occurred_at, correlation_id, causation_id, actor_id, metadata, data)
        VALUES (
            p_event_id, p_event_type, p_schema_version, p_aggregate_type, p_aggregate_id, p_expected + 1, p_slot,
            p_occurred_at, p_correlation_id, p_causation_id, p_actor_id, p_metadata, p_data)
        ON CONFLICT DO NOTHING
        RETURNING eventsource_app_event.position INTO "position";
        IF FOUND THEN
            outcome := 'appended';
            version := p_expected + 1;
            RETURN;
        END IF;
    END IF;
    SELECT a.outcome, a.version, a.position INTO outcome, version, "position" FROM eventsource_append(
        p_aggregate_type, p_aggregate_id, p_slot, p_expected,
        ARRAY[p_event_id], ARRAY[p_event_type], ARRAY[p_schema_version], ARRAY[p_occurred_at],
        ARRAY[p_correlation_id], ARRAY[p_causation_id], ARRAY[p_actor_id], ARRAY[p_metadata], ARRAY[p_data]) AS a;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0007_api_callers")]

    operations = [migrations.RunSQL(APPEND_ONE, "DROP FUNCTION eventsource_append_one;")]
