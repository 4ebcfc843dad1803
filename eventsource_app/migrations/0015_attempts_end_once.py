"""The end of an attempt is refused where a handler has ended the transaction before: the row's lock went with it."""

from importlib import import_module

from django.db import migrations

before = import_module("eventsource_app.migrations.0012_advance")

BACK = before.ADVANCE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
# Who finds another transaction than it began asks for no lease; workers of the release before always ask for one.
REFUSE = """
    IF p_lease IS NULL THEN
        RAISE EXCEPTION 'The transaction that locked the checkpoint % was ended before the attempt was.', p_id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'eventsource_attempt';
    END IF;
END $$;"""


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0014_look_for_taken_ids")]

    operations = [migrations.RunSQL(BACK.replace("\nEND $$;", REFUSE, 1), BACK)]
