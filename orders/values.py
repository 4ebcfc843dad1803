"""The values an order is made of: money and short texts, each with one parser that every entrance uses."""

import re
from decimal import Decimal, InvalidOperation

from orders.exceptions import InvalidOrderError

MAX_TEXT_LENGTH = 200
MAX_WHOLE_DIGITS = 12
MONEY_DECIMAL_PLACES = 2
MONEY_MAX_DIGITS = MAX_WHOLE_DIGITS + MONEY_DECIMAL_PLACES

_CENT = Decimal("0.01")
_LIMIT = Decimal(10) ** MAX_WHOLE_DIGITS
# Texts are stricter than numbers: no sign, exponent, underscore, blank or digit outside ASCII.
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
# C0 and C1 controls and lone surrogates: PostgreSQL refuses some of them, and no reader wants the others.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def parse_total(value: object) -> Decimal:
    """Return an order's total with exactly two decimal places; raises ``InvalidOrderError``.

    Takes a ``Decimal``, an ``int``, a text such as ``"499.99"``, or a ``float`` by its shortest text (499.99 is 499.99).
    """
    amount = _as_decimal(value)
    if amount is None or not amount.is_finite():
        raise _refused(value, "must be a number such as 499.99")
    if amount <= 0:
        raise _refused(value, "must be above zero")
    if amount >= _LIMIT:
        raise _refused(value, f"must have at most {MAX_WHOLE_DIGITS} digits before the point")
    rounded = amount.quantize(_CENT)
    if rounded != amount:
        raise _refused(value, f"must have at most {MONEY_DECIMAL_PLACES} decimal places")
    return rounded


def parse_text(field: str, value: object) -> str:
    """Return a required short text without surrounding blanks; raises ``InvalidOrderError``."""
    if not isinstance(value, str):
        raise InvalidOrderError(field, f"{_label(field)} must be a text, not {_shown(value)}.")
    text = value.strip()
    if not text:
        raise InvalidOrderError(field, f"{_label(field)} must not be empty.")
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidOrderError(
            field, f"{_label(field)} must have at most {MAX_TEXT_LENGTH} characters, not {len(text)}."
        )
    if _UNPRINTABLE.search(text):
        raise InvalidOrderError(field, f"{_label(field)} must not have control characters: {_shown(text)}.")
    return text


def _as_decimal(value: object) -> Decimal | None:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return _from_text(str(value))
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        return _from_text(value)
    return None


def _from_text(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _refused(value: object, rule: str) -> InvalidOrderError:
    return InvalidOrderError("total", f"Order total {rule}, not {_shown(value)}.")


def _label(field: str) -> str:
    return field.replace("_", " ").capitalize()


def _shown(value: object) -> str:
    """Return the value as the sentence shows it: a guess at its size costs nothing, the whole of it might."""
    if isinstance(value, int) and abs(value) >= _LIMIT * _LIMIT:
        return f"a number of {value.bit_length()} bits"
    text = ascii(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
