"""Tests: a throwaway PostgreSQL, shared by the processes of one test run, never the data of `make run`.

TEST_DATABASE_URL names the server. Unset, it is this run's own (tests/conftest.py starts and removes
it); set here, so that pytest-xdist's workers, which inherit the environment, use the same one.
"""

import os

from settings import env as environment_module
from settings.base import *  # noqa: F403 -- Django's way to extend settings
from settings.database import database
from settings.throwaway_postgres import throwaway_server

SERVER_IS_OURS = environment_module.environment().test_database_url is None
SERVER = throwaway_server(os.getpid())
ENV = environment_module.environment()
TEST_DATABASE_URL = environment_module.default("TEST_DATABASE_URL", SERVER.url("postgres"))

DEBUG = False
SECRET_KEY = "a-key-for-tests-only"  # noqa: S105 -- guards nothing
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]

# No pool: a test's threads close what they open, and nothing holds the test database when it is dropped.
DATABASES = {"default": database(TEST_DATABASE_URL, ENV, pooled=False)}
# Django's flush between tests is a TRUNCATE of all tables, which the append-only trigger refuses otherwise.
DATABASES["default"]["OPTIONS"]["options"] += " -c eventsource.allow_truncate=on"

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; no password here is one
WHITENOISE_AUTOREFRESH = True  # does not walk the static files at every start
