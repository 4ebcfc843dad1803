"""What `make run` does to the database before anything is served: migrations, and a demo admin."""

import django
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper

from settings.postgres_binaries import LocalPostgresError

DEMO = "admin"


def prepare() -> str:
    """Migrate; return what to print after the admin's URL. Raises LocalPostgresError without a database."""
    django.setup()
    try:
        # Without the pool, which would keep trying for half a minute.
        psycopg.connect(**connection.get_connection_params()).close()
        call_command("migrate", interactive=False, verbosity=0)
        return _demo_admin() if settings.DEBUG else ""
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


def _demo_admin() -> str:
    from django.contrib.auth.models import User

    if not User.objects.filter(username=DEMO).exists():
        User.objects.create_superuser(DEMO, password=DEMO)
    return f"   (user {DEMO}, password {DEMO}: development only)"
