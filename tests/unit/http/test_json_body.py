"""Request bodies: the JSON that two readers would understand alike."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import RequestFactory

from eventsource_app.http.json_body import StrictJsonParser


def parse(body: bytes | str) -> Any:
    return StrictJsonParser().parse_body(RequestFactory().post("/x", body, content_type="application/json"))


def test_numbers_with_a_point_are_decimals() -> None:
    parsed = parse('{"total": 0.1, "n": 3}')
    assert parsed == {"total": Decimal("0.1"), "n": 3}
    assert isinstance(parsed["total"], Decimal)


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "[1,",
        "\xff",
        b"\xff\xfe\xfa",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1, "a": 2}',
        "[" * 100_000,
        "9" * 5000,
    ],
)
def test_what_is_unreadable_or_ambiguous_is_refused(body: bytes | str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse(body)
