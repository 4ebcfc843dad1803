"""Waiting for a condition, with a generous deadline: tests never sleep and hope."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 60.0


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS, what: str = "") -> None:
    """Return when the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)
