"""One event is inserted by a statement now (store/appending.py), which costs the server less than the function did."""

from importlib import import_module

from django.db import migrations

before = import_module("eventsource_app.migrations.0008_append_one")


class Migration(migrations.Migration):
    dependencies = [("eventsource_app", "0012_advance")]

    operations = [migrations.RunSQL("DROP FUNCTION eventsource_append_one;", before.APPEND_ONE)]
