"""The desk: a history of lag and rate, and permissions for what operators may do."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('eventsource_app', '0003_operator_permissions'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='checkpoint',
            options={'permissions': [('pause_checkpoint', 'Can pause and resume subscriptions'), ('rebuild_checkpoint', 'Can rebuild read models'), ('repartition_checkpoint', 'Can change the number of partitions'), ('reset_checkpoint', 'Can reset checkpoints')]},
        ),
        migrations.CreateModel(
            name='SubscriptionSample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('subscription', models.CharField(max_length=200)),
                ('partition', models.SmallIntegerField()),
                ('tick', models.SmallIntegerField()),
                ('sampled_at', models.DateTimeField()),
                ('lag_events', models.BigIntegerField()),
                ('lag_seconds', models.FloatField()),
                ('events_processed', models.BigIntegerField()),
                ('events_failed', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('subscription', 'partition', 'tick'), name='eventsource_sample_tick')],
            },
        ),
    ]
