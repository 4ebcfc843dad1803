"""Settings of a worker with deadly handlers, and a lease short enough to die often in a test."""

from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.base import EVENTSOURCE as BASE_EVENTSOURCE
from settings.base import INSTALLED_APPS as BASE_APPS

INSTALLED_APPS = [*BASE_APPS, "tests.acceptance.deadly"]
EVENTSOURCE = {**BASE_EVENTSOURCE, "LEASE_SECONDS": 1}
