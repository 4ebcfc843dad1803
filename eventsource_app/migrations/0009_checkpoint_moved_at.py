"""When each checkpoint last moved: events that wait while it stands still are a frozen feed."""

from django.db import migrations, models

import eventsource_app.models


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0008_append_one")]

    operations = [
        migrations.AddField(
            model_name="checkpoint",
            name="moved_at",
            field=models.DateTimeField(db_default=eventsource_app.models.ClockTimestamp()),
        ),
    ]
