"""The embedded PostgreSQL while `make run` runs: when it has died (out of memory, kill -9), it is started again.

One that somebody stopped stays down, until somebody starts it: it has taken its postmaster.pid away.
"""

import socket
import time

from eventsource_app.management.child import pause_before_restart
from settings.local_postgres import start_again
from settings.postgres_binaries import LocalPostgresError
from settings.postgres_server import PORT, Server

LOOK_SECONDS = 1.0
LISTENS_ON = f".s.PGSQL.{PORT}"


class KeptPostgres:
    """Asks now and then whether the server is still there, as the supervisor asks its children; no start, no stop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._failures = 0
        self._look_at = 0.0
        self._was_dead = False

    def keep_running(self) -> str | None:
        """Start the server again where it is dead; return a sentence of what became of it."""
        if time.monotonic() < self._look_at:
            return None
        # Twice in a row: one that is being stopped takes its socket away a moment before its file.
        was_dead, self._was_dead = self._was_dead, self._is_dead()
        said = self._start_again() if was_dead and self._was_dead else None
        self._look_at = time.monotonic() + max(LOOK_SECONDS, pause_before_restart(self._failures))
        return said

    def _start_again(self) -> str:
        try:
            start_again(self._server)
        except LocalPostgresError as error:
            self._failures += 1
            return f"PostgreSQL has died and cannot be started again: {error}"
        self._failures = 0
        return f"PostgreSQL had died and was started again; its log is {self._server.log}."

    def _is_dead(self) -> bool:
        return (self._server.cluster / "postmaster.pid").exists() and not self._listens()

    def _listens(self) -> bool:
        """Say whether somebody listens: a server that is full, or starts or stops, does; a dead one does not."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._server.sockets / LISTENS_ON))
            except (ConnectionRefusedError, FileNotFoundError):
                return False
            except OSError:
                return True
        return True
