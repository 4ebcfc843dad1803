"""An append of several events looks for taken ids before its first row stands: their error would undo the caller's transaction."""

from importlib import import_module

from django.db import migrations

before = import_module("eventsource_app.migrations.0002_append_only_log")

REPLACE = before.APPEND.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
# One event needs no look of its own: it is inserted ON CONFLICT DO NOTHING.
LOOK = """
        EXIT WHEN amount > 1 AND EXISTS (
            SELECT FROM eventsource_app_event e WHERE e.event_id = ANY (p_event_ids));"""
FIRST_INSERT = """
        INSERT INTO eventsource_app_event ("""


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0013_drop_append_one")]

    operations = [migrations.RunSQL(REPLACE.replace(FIRST_INSERT, LOOK + FIRST_INSERT, 1), REPLACE)]
