"""A project that had a database and transactions per request before: the log lives on an alias of its own."""

import os

from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.base import DATABASES, ENV, EVENTSOURCE
from settings.database import database

DATABASES["events"] = database(os.environ["EVENTS_DATABASE_URL"], ENV)
for config in DATABASES.values():
    config["ATOMIC_REQUESTS"] = True
DATABASE_ROUTERS = ["tests.acceptance.existing_project_router.Router"]
EVENTSOURCE["DATABASE"] = "events"
