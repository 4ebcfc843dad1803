"""manage.py pool_plan: the usual table, this deployment's row, and whether it fits the server."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from settings.database import pool_plan

pytestmark = pytest.mark.django_db


def printed(settings: Any, **plan: int) -> str:
    settings.EVENTSOURCE = {**settings.EVENTSOURCE, "POOL": pool_plan(max_connections=100, **plan).to_dict()}
    output = StringIO()
    call_command("pool_plan", stdout=output)
    return output.getvalue()


def max_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_connections")
        return int(cursor.fetchone()[0])


def test_the_usual_rows_and_ours(settings: Any) -> None:
    rows = [line.split() for line in printed(settings, instance_count=3, processes=2).splitlines()[1:6]]

    assert rows == [
        ["Development", "1", "5", "5", "10"],
        ["Light", "2", "5", "10", "30"],
        ["Medium", "4", "10", "15", "100"],
        ["Heavy", "8", "5", "7", "96"],
        ["This", "deployment", "3", "10", "20", "90"],
    ]


def test_what_does_not_fit_is_told_with_what_to_do(settings: Any) -> None:
    text = printed(settings, instance_count=1000)

    assert f"1000 instances × 2 connections = 2000, {2000 / max_connections():.0%} of max_connections" in text
    assert "reserved for superusers" in text
    assert "raise max_connections above 2000, lower INSTANCE_COUNT" in text


def test_what_fits_is_told_too(settings: Any) -> None:
    text = printed(settings, instance_count=1, pool_size=5, max_overflow=5)

    assert text.rstrip().endswith("open now).")
    assert "raise" not in text
