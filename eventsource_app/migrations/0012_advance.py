"""The end of every attempt at a batch as a function: the checkpoint moves, or nothing of the attempt is kept."""

from django.db import migrations

# It raises where the row is not as it was locked, since the COMMIT that follows in the same round trip must not happen.
ADVANCE = """
CREATE FUNCTION eventsource_advance(
    p_id bigint, p_epoch bigint, p_read bigint, p_position bigint, p_processed integer, p_failed integer,
    p_retries integer, p_parked integer, p_error text, p_lease double precision
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE eventsource_app_checkpoint SET
        position = p_position, events_processed = events_processed + p_processed,
        events_failed = events_failed + p_failed, retry_count = retry_count + p_retries, batch_count = batch_count + 1,
        parked_generation = parked_generation + p_parked,
        unclean_takeover_count = 0, careful_position = NULL, careful_death_count = 0,
        moved_at = CASE WHEN position = p_position THEN moved_at ELSE clock_timestamp() END,
        last_event_at = CASE WHEN p_processed > 0 THEN clock_timestamp() ELSE last_event_at END,
        last_error = coalesce(p_error, last_error),
        last_error_at = CASE WHEN p_error IS NULL THEN last_error_at ELSE clock_timestamp() END,
        breaker = 'closed', breaker_opened_at = NULL,
        lease_expires_at = clock_timestamp() + make_interval(secs => p_lease), updated_at = clock_timestamp()
     WHERE id = p_id AND epoch = p_epoch AND position = p_read;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The checkpoint % is not at position % with epoch % any more, so the attempt was rolled back.',
            p_id, p_read, p_epoch USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'eventsource_lease';
    END IF;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0011_event_correlation")]

    operations = [migrations.RunSQL(ADVANCE, "DROP FUNCTION eventsource_advance;")]
