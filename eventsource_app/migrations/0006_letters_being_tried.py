"""A mark on the letter that is being tried, so that a process which dies of it is known to have died of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0005_idempotency_keys")]

    operations = [
        migrations.AddField("deadletter", "tried_position", models.BigIntegerField(blank=True, null=True)),
        migrations.AddField("deadletter", "tried_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("deadletter", "lost_attempt_count", models.SmallIntegerField(db_default=0)),
    ]
