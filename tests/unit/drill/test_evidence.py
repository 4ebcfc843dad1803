"""The drill's evidence finds what a bad restore leaves behind."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.drill.evidence import Log, Point, differences

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BEFORE, AFTER = NOON - timedelta(seconds=1), NOON + timedelta(seconds=1)
ROWS = {2: ("two", BEFORE), 3: ("three", BEFORE), 4: ("four", BEFORE), 5: ("five", AFTER)}
LAST_SEEN = Log(ROWS)
# Position 4 was being written at noon: it may be there or not.
POINT = Point(Log({2: ROWS[2], 3: ROWS[3]}), NOON, "0/1")


@pytest.mark.parametrize("positions", [(2, 3), (2, 3, 4)])
def test_a_good_restore_shows_nothing(positions: tuple[int, ...]) -> None:
    assert differences(POINT, LAST_SEEN, Log({number: ROWS[number] for number in positions})) == []


@pytest.mark.parametrize(
    ("restored", "finding"),
    [
        ({2: ROWS[2]}, "1 events committed before the point are missing, such as [3]"),
        (ROWS, "1 events recorded after the point are there, such as [5]"),
        ({**ROWS, 5: ("other", BEFORE)}, "1 events differ from what was stored, such as [5]"),
        ({2: ROWS[2], 3: ROWS[3], 9: ("nine", BEFORE)}, "1 events were never stored before, such as [9]"),
    ],
)
def test_a_bad_one_is_named(restored: dict[int, tuple[str, datetime]], finding: str) -> None:
    assert differences(POINT, LAST_SEEN, Log(restored)) == [finding]
