"""Money and texts: what is taken, what it becomes, and what is refused in which words."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.exceptions import InvalidOrderError
from orders.values import parse_text, parse_total

cents = st.integers(min_value=1, max_value=10**14 - 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (499.99, "499.99"),
        (0.1, "0.10"),
        (1e2, "100.00"),
        (5, "5.00"),
        ("5", "5.00"),
        ("5.1", "5.10"),
        ("007.50", "7.50"),
        ("1.500", "1.50"),
        (Decimal("1E+2"), "100.00"),
        (Decimal("0.01"), "0.01"),
        ("999999999999.99", "999999999999.99"),
    ],
)
def test_a_total_is_kept_with_two_decimal_places(value: object, expected: str) -> None:
    total = parse_total(value)
    assert isinstance(total, Decimal)
    assert str(total) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "must be above zero"),
        (-5, "must be above zero"),
        (Decimal("-0.00"), "must be above zero"),
        ("0.00", "must be above zero"),
        (10**12, "at most 12 digits before the point"),
        (10**3000, "at most 12 digits before the point"),
        (1e300, "at most 12 digits before the point"),
        ("9" * 3000, "at most 12 digits before the point"),
        (Decimal("1E+999999"), "at most 12 digits before the point"),
        (1.005, "at most 2 decimal places"),
        ("1.999", "at most 2 decimal places"),
        (Decimal("1E-999999"), "at most 2 decimal places"),
        (Decimal("999999999999.999"), "at most 2 decimal places"),
        (float("nan"), "must be a number"),
        (float("inf"), "must be a number"),
        (Decimal("NaN"), "must be a number"),
        (Decimal("sNaN"), "must be a number"),
        (Decimal("-Infinity"), "must be a number"),
        ("NaN", "must be a number"),
        ("1e3", "must be a number"),
        ("1_000", "must be a number"),
        ("１２", "must be a number"),
        (" 5", "must be a number"),
        ("+5", "must be a number"),
        ("5.", "must be a number"),
        ("", "must be a number"),
        (True, "must be a number"),
        (None, "must be a number"),
        ([5], "must be a number"),
    ],
)
def test_a_total_that_no_order_may_have_is_refused_in_one_short_sentence(value: object, words: str) -> None:
    with pytest.raises(InvalidOrderError, match=words) as refused:
        parse_total(value)
    assert refused.value.field == "total"
    assert len(str(refused.value)) < 200
    assert str(refused.value).endswith(".")


@given(cents)
def test_every_amount_of_cents_goes_in_by_text_and_by_number_unharmed(amount: int) -> None:
    exact = Decimal(amount) / 100
    assert parse_total(exact) == exact
    assert parse_total(f"{exact:.2f}") == exact


@given(st.integers(min_value=1, max_value=10**12 - 1))
def test_a_float_of_cents_suffers_no_binary_damage(amount: int) -> None:
    assert parse_total(amount / 100) == Decimal(amount) / 100


@pytest.mark.parametrize(
    ("value", "expected"), [("Ann", "Ann"), ("  Ann  ", "Ann"), ("Zoë 李", "Zoë 李"), ("x" * 200, "x" * 200)]
)
def test_a_text_loses_only_the_blanks_around_it(value: str, expected: str) -> None:
    assert parse_text("customer_id", value) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "Customer id must not be empty"),
        ("  ", "Customer id must not be empty"),
        ("x" * 201, "at most 200 characters, not 201"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("a\ud800b", "control characters"),
        (5, "must be a text, not 5"),
        (None, "must be a text, not None"),
    ],
)
def test_a_text_that_cannot_be_kept_is_refused(value: object, words: str) -> None:
    with pytest.raises(InvalidOrderError, match=words) as refused:
        parse_text("customer_id", value)
    assert refused.value.field == "customer_id"
    str(refused.value).encode()


def test_a_number_too_long_to_print_is_refused_all_the_same() -> None:
    with pytest.raises(InvalidOrderError, match="at most 12 digits"):
        parse_total(10**5000)
