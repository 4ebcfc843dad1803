"""The keys that ``manage.py check`` knows are those that the code reads."""

import re
from pathlib import Path

from eventsource_app.checks import KNOWN_KEYS
from settings.env import environment
from settings.subscriptions import eventsource

ENGINE = Path(__file__).parents[3] / "eventsource_app"


def test_every_key_that_the_engine_reads_is_known() -> None:
    sources = [path.read_text() for path in ENGINE.rglob("*.py")]
    read = {key for source in sources for key in re.findall(r'\boption\("(\w+)"', source)}
    assert {"HEALTH", "MAX_EVENT_BYTES"} <= read
    assert read <= KNOWN_KEYS


def test_every_key_of_this_deployment_is_known() -> None:
    assert set(eventsource(environment())) <= KNOWN_KEYS
