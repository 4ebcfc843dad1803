"""The parser of request bodies: JSON without the parts of JSON that two readers may understand differently."""

import json
from decimal import Decimal
from typing import Any, NoReturn

from django.http import HttpRequest
from ninja.parser import Parser


class StrictJsonParser(Parser):
    """Numbers with a point become ``Decimal`` (no binary damage); NaN, infinity and a key given twice are refused."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """Return the parsed body; raises ``ValueError`` (or ``RecursionError``), which the API answers with 400."""
        return json.loads(  # type: ignore[no-any-return]  # ninja validates whatever it is
            request.body,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_refuse_repeated_keys,
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number.")


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        raise ValueError("A key is given twice.")
    return parsed
