"""What `make run` does to the database before anything is served: migrations, a demo admin, and a token."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import django
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper
from django.utils import timezone

from eventsource_app.management.stop_request import StopRequest
from settings.postgres_binaries import LocalPostgresError

DEMO = "admin"
PAUSE_SECONDS = 0.1
# Two keys of 32 bits: they never meet the append's fence, which has one of 64.
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(0, 0)"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `make run` prints: a note after the admin's URL, and a token for the API (None in production)."""

    admin_note: str = ""
    token: str | None = None


def prepare(stop: StopRequest) -> Prepared | None:
    """Migrate; make a demo admin and a token where DEBUG is on; nothing, and ``None``, once a stop is asked for.

    Raises LocalPostgresError without a database.
    """
    django.setup()
    try:
        with _alone(stop) as is_alone:
            if not is_alone:
                return None
            call_command("migrate", interactive=False, verbosity=0)
            return Prepared(_demo_admin(), _demo_token()) if settings.DEBUG else Prepared()
    except (OperationalError, psycopg.OperationalError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LocalPostgresError(
            f"The database does not answer ({reason}): start it, correct DATABASE_URL, "
            "or unset DATABASE_URL to use the embedded one."
        ) from error
    finally:
        # The supervisor only supervises: it keeps no connection.
        connection.close()
        if isinstance(connection, DatabaseWrapper):
            connection.close_pool()


@contextmanager
def _alone(stop: StopRequest) -> Iterator[bool]:
    """Let one `make run` at a time prepare a database: two that migrate at once would make the same tables.

    Yield False when a stop was asked for before it was this one's turn.

    The lock is only tried for, since a statement that waits would keep an index from being made concurrently.
    """
    # Without the pool, which would keep trying for half a minute.
    with closing(psycopg.connect(**connection.get_connection_params())) as holder:
        while not stop.asked and holder.execute(TRY_LOCK).fetchone() != (True,):
            holder.rollback()
            time.sleep(PAUSE_SECONDS)
        yield not stop.asked


def _demo_admin() -> str:
    from django.contrib.auth.models import User

    if not User.objects.filter(username=DEMO).exists():
        User.objects.create_superuser(DEMO, password=DEMO)
    return f"   (user {DEMO}, password {DEMO}: development only)"


def _demo_token() -> str:
    """Make a token for this run. Earlier ones stay valid for their day: whoever pasted one goes on."""
    from eventsource_app.http.callers import known_scopes
    from eventsource_app.http.tokens import create_token

    return create_token("make run", known_scopes(), timezone.now() + timedelta(days=1), "make run").text
