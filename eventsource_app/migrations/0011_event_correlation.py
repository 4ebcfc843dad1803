"""Finding events by correlation id. Built beside running appends: a scan of the table, and no lock that they wait for."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("eventsource_app", "0010_subscriptions_desk")]

    operations = [
        AddIndexConcurrently(
            "event",
            BrinIndex(
                autosummarize=True,
                fields=["correlation_id"],
                name="eventsource_event_correlation",
                opclasses=["text_bloom_ops"],
            ),
        )
    ]
