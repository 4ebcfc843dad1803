#!/usr/bin/env python
"""Django's command line. Without DATABASE_URL it runs on the project's embedded PostgreSQL."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext

from eventsource_app.management.stop_request import EARLY

# Importing what follows takes a second, and a worker that is asked to stop meanwhile ends as gracefully as later.
IS_WORKER = sys.argv[1:2] == ["run_subscriptions"]
if IS_WORKER:
    EARLY.install_early()

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, ManagementUtility
from django.db import OperationalError, connections

from eventsource_app.management.termination import status_of, stopped_by_signals
from settings import env
from settings.local_postgres import attached, project_server
from settings.postgres_binaries import LocalPostgresError

DEVELOPMENT = "settings.base"
WITHOUT_DATABASE = ("help", "--help", "-h", "version", "--version", "collectstatic", "startapp", "check")


def settings_module(arguments: list[str]) -> str:
    """Return the settings that this command line chooses."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--settings":
            return following
        if argument.startswith("--settings="):
            return argument.removeprefix("--settings=")
    return env.default("DJANGO_SETTINGS_MODULE", DEVELOPMENT)


def database_server(arguments: list[str]) -> AbstractContextManager[object]:
    """Return the embedded server where this command needs it; its last user stops it."""
    needed = len(arguments) > 1 and arguments[1] not in WITHOUT_DATABASE and "--help" not in arguments
    environment = env.environment()
    if not needed or environment.database_url or settings_module(arguments) != DEVELOPMENT:
        return nullcontext()
    return attached(project_server(environment.data_dir))


class Utility(ManagementUtility):
    """Django's, whose commands connect by themselves: a pool would hide for half a minute why it has no connection."""

    def fetch_command(self, subcommand: str) -> BaseCommand:
        command = super().fetch_command(subcommand)
        if apps.ready:
            from eventsource_app.store.session import leave_pool

            for alias in connections:
                leave_pool(alias)
        return command


def sentence_for(error: OperationalError) -> str | None:
    """Return one sentence when the database does not answer; None for an error that a statement has met."""
    from eventsource_app.checks.readiness import is_away, why_away

    return why_away(error) if is_away(error) else None


def main() -> None:
    env.default("DJANGO_SETTINGS_MODULE", DEVELOPMENT)
    try:
        # A SIGTERM that just ended the process would leave the server running that it is the last to use.
        with nullcontext() if IS_WORKER else stopped_by_signals(), database_server(sys.argv):
            Utility(sys.argv).execute()
    except KeyboardInterrupt as interrupt:
        sys.exit(status_of(interrupt))
    except BrokenPipeError:  # who reads has enough, as `head` has; Python would write the rest at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OperationalError as error:
        sentence = None if "--traceback" in sys.argv else sentence_for(error)
        if sentence is None:
            raise
        sys.exit(f"manage.py: {sentence}")
    except (ImproperlyConfigured, LocalPostgresError) as error:
        sys.exit(f"manage.py: {error}")


if __name__ == "__main__":
    main()
