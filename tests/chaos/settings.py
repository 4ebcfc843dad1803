"""Settings of the campaign's processes: its subscriptions are an app's, and a lease is short, so that minutes hold many."""

from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.base import EVENTSOURCE as BASE_EVENTSOURCE
from settings.base import INSTALLED_APPS as BASE_APPS

INSTALLED_APPS = [*BASE_APPS, "tests.chaos"]
EVENTSOURCE = {**BASE_EVENTSOURCE, "LEASE_SECONDS": 4}
