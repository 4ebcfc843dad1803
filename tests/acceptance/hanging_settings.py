"""Settings of a worker with a handler that hangs."""

from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.base import INSTALLED_APPS as BASE_APPS

INSTALLED_APPS = [*BASE_APPS, "tests.acceptance.hanging"]
