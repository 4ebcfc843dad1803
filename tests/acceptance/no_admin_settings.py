"""A service without pages: the engine as docs/existing-project.md has it, and nothing of Django's admin."""

from settings.base import *  # noqa: F403 -- Django's way to extend settings

INSTALLED_APPS = [
    "health_check",
    "ninja",
    "eventsource_app.apps.EventsourceAppConfig",
    "orders",
    "projections",
]
MIDDLEWARE = ["eventsource_app.probes.middleware.ProbeMiddleware"]
ROOT_URLCONF = "eventsource_app.probes.urls"
