"""Settings of a worker that never listens, as behind a pooler in transaction mode."""

from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.base import EVENTSOURCE as BASE_EVENTSOURCE

EVENTSOURCE = {**BASE_EVENTSOURCE, "LISTEN": False}
