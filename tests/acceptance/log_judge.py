"""What every line of every log must be: one JSON object with the contract's fields, and nobody's secret."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
REQUEST = {"method", "path", "status", "duration_seconds", "response_bytes"}
EVENT = {"event_type", "aggregate_id"}


def assert_every_line_is_well_told(text: str, secrets: Iterable[str]) -> list[dict[str, Any]]:
    """Return the lines as objects."""
    for secret in secrets:
        assert secret not in text, next(line for line in text.splitlines() if secret in line).replace(
            secret, "***"
        )
    lines = [_object(line) for line in text.splitlines()]
    assert lines
    for line in lines:
        _assert_well_told(line)
    return lines


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise AssertionError(f"not JSON: {line}") from None
    assert isinstance(found, dict)
    return found


def _assert_well_told(line: dict[str, Any]) -> None:
    assert next(iter(line)) == "timestamp", line
    assert line["timestamp"].endswith("Z"), line
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)
    assert line["level"] in LEVELS, line
    assert line["logger"], line
    assert line["message"], line
    if line.get("event_id"):
        assert line.keys() >= EVENT, line
    if line["logger"] == "gunicorn.access":
        assert line.keys() >= REQUEST, line
        assert "?" not in line["path"], line
