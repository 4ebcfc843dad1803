"""Cursors: what was given out comes back, and nothing else does."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.cursors import MAX_POSITION, InvalidCursorError, decode_cursor, encode_cursor


@given(st.integers(min_value=1, max_value=MAX_POSITION))
def test_a_cursor_comes_back_as_the_position_it_was_made_of(position: int) -> None:
    assert decode_cursor(encode_cursor(position)) == position


def test_a_cursor_does_not_show_the_position() -> None:
    assert "12345" not in encode_cursor(12345)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "5",
        "AAAAAAAAAAAA",
        "AQAAAAAAAAAA",
        "AgAAAAAAAAAB",
        "Af__________",
        "é",
        "AQAAAAAAAAAB AQ",
        "A" * 10_000,
        "\x00",
    ],
)
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        decode_cursor(cursor)


@given(st.text())
def test_no_text_does_worse_than_being_refused(cursor: str) -> None:
    with contextlib.suppress(InvalidCursorError):
        assert 0 < decode_cursor(cursor) <= MAX_POSITION
