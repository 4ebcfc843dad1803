"""What people read: numbers, durations and states in words."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils.timezone import now, override

from eventsource_app.admin import wording


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0 s"), (0.01, "0 s"), (0.42, "0.4 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (11_100, "3 h 5 min"), (200_000, "2 days")],
)  # fmt: skip
def test_durations(seconds: float | None, said: str) -> None:
    assert wording.duration(seconds) == said


@pytest.mark.parametrize(("rate", "said"), [(None, "–"), (0, "0/s"), (0.26, "0.3/s"), (12_345.6, "12,346/s")])
def test_rates(rate: float | None, said: str) -> None:
    assert wording.rate(rate) == said


def test_times() -> None:
    assert wording.ago(None) == "–"
    assert wording.ago(now() - timedelta(minutes=5)) == "5 min ago"
    assert wording.ago(now() + timedelta(minutes=5)) == "0 s ago"  # another clock


@pytest.mark.parametrize(
    ("zone", "value", "said"),
    [
        ("UTC", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31 23:59:59"),
        ("Asia/Tokyo", datetime(2026, 1, 1, 20, tzinfo=UTC), "2026-01-02 05:00:00"),
        ("Asia/Tokyo", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31 23:59:59 UTC"),
        ("Asia/Tokyo", datetime(2026, 1, 1, 20), "2026-01-01 20:00:00"),  # noqa: DTZ001 - where USE_TZ is off
        ("America/Los_Angeles", datetime(1, 1, 1, tzinfo=UTC), "0001-01-01 00:00:00 UTC"),
        ("UTC", None, "–"),
    ],
)
def test_a_time_is_the_sites_unless_its_calendar_has_none(
    zone: str, value: datetime | None, said: str
) -> None:
    with override(zone):
        assert wording.moment(value) == said


def test_a_word_without_a_colour_is_plain() -> None:
    assert wording.tone("dead") == "desk-bad"
    assert wording.tone("<b>") == "desk-plain"
    assert wording.badge("<b>") == '<span class="desk-badge desk-plain">&lt;b&gt;</span>'


def test_values_on_one_line() -> None:
    assert [wording.json_inline(value) for value in ("é", 1, None, [1, "é"])] == [
        "é",
        "1",
        "null",
        '[1, "é"]',
    ]
