"""What an operator may do at the desk, each with a permission of its own."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0002_append_only_log")]

    operations = [
        migrations.AlterModelOptions(
            name="checkpoint",
            options={"permissions": [("pause_checkpoint", "Can pause and resume subscriptions")]},
        ),
        migrations.AlterModelOptions(
            name="deadletter",
            options={
                "permissions": [
                    ("retry_deadletter", "Can retry dead letters"),
                    ("discard_deadletter", "Can discard dead letters"),
                ]
            },
        ),
    ]
