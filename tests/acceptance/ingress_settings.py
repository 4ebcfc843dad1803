"""Production as it is, but for the manifest of static files, which collectstatic would have to write first."""

from settings.production import *  # noqa: F403 -- Django's way to extend settings
from settings.production import STORAGES

STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
