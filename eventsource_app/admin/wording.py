"""How the desk says things: numbers, durations and JSON for people, and a colour for each word of state."""

import json
from datetime import datetime
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import is_aware, localtime, now

TONES: Final = {
    "good": ("healthy", "running", "closed", "resolved", "caught up", "handled"),
    "warning": ("degraded", "paused", "rebuilding", "half_open", "parked", "retrying", "behind", "waits", "taken"),
    "bad": ("unhealthy", "critical", "stopped", "open", "dead", "failed"),
}  # fmt: skip
TONE_OF: Final = {word: tone for tone, words in TONES.items() for word in words}
MINUTE, HOUR, DAY = 60, 3600, 86_400


def number(value: Any) -> str:
    """Return a whole number with separators; a dash for what is not known."""
    return "–" if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Return events per second."""
    if value is None:
        return "–"
    return f"{value:,.0f}/s" if value >= 10 or value == 0 else f"{value:.1f}/s"


def duration(seconds: float | None) -> str:
    """Return seconds as people say them: ``0.4 s``, ``12 min``, ``3 h 5 min``, ``2 days``."""
    if seconds is None:
        return "–"
    if seconds < MINUTE:
        return f"{seconds:.1f} s" if 0.05 <= seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < DAY:
        minutes = seconds % HOUR // MINUTE
        return f"{seconds // HOUR:.0f} h {minutes:.0f} min" if minutes else f"{seconds // HOUR:.0f} h"
    return f"{seconds / DAY:.0f} days"


def ago(moment: datetime | None) -> str:
    """Return how long ago something was, by this process's clock."""
    return "–" if moment is None else f"{duration(max(0.0, (now() - moment).total_seconds()))} ago"


def moment(value: datetime | None) -> str:
    """Return a time to the second, in the site's zone; in UTC, and saying so, where the site's calendar has no such time."""
    if value is None:
        return "–"
    try:
        return _to_the_second(localtime(value) if is_aware(value) else value)
    except OverflowError:  # hours from the calendar's ends, which some use for "never" and "for ever"
        return f"{_to_the_second(value)} UTC"


def _to_the_second(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(" ", "seconds")


def tone(word: object) -> str:
    """Return the CSS class of a word of state."""
    return f"desk-{TONE_OF.get(str(word), 'plain')}"


def words(value: object) -> str:
    """Return an identifier as words."""
    return str(value).replace("_", " ")


def json_inline(value: Any) -> str:
    """Return a value on one line: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def badge(word: str) -> SafeString:
    """Return a word of state in its colour."""
    return format_html('<span class="desk-badge {}">{}</span>', tone(word), words(word))
