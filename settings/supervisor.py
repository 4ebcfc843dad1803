"""`make run`: PostgreSQL, migrations, gunicorn and workers in one terminal; Ctrl-C stops all of it.

Order matters twice: the database first and last, and a child is only ever asked to stop by us.
"""

import argparse
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from django.core.exceptions import ImproperlyConfigured

from eventsource_app.management.child import Child, stop_all
from eventsource_app.management.stop_request import StopRequest
from settings import env
from settings.kept_postgres import KeptPostgres
from settings.local_postgres import PROJECT, attached, project_server
from settings.postgres_binaries import LocalPostgresError
from settings.preparation import Prepared, prepare
from settings.variables import in_url

TICK_SECONDS = 0.1
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared with, not listened on
# A proxy for HTTP (http_proxy) is the way out of a network, and none to a server of our own.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
WEB_START_SECONDS = 60
GRACE_SECONDS = 5  # beyond the workers' own limit, before what still runs is killed


class SupervisorError(Exception):
    """Nothing can be run; the message is one sentence that says what to do."""


def say(text: str) -> None:
    # A terminal that was closed, a pipe that nobody reads: there is still all to stop.
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 -- for the person at the terminal


def main(arguments: list[str] | None = None) -> int:
    """Run until a signal asks to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--port", type=int, default=None)
    port = parser.parse_args(arguments).port
    stop = StopRequest()
    stop.install()
    stop_with_the_terminal(stop)
    try:
        _choose_settings(port)
        with _database() as database, _finally_stopped(stop) as children:
            run(children, stop, database)
    except (SupervisorError, LocalPostgresError, ImproperlyConfigured) as error:
        say(f"make run: {error}")
        return 1
    say("Stopped.")
    return stop.exit_status


def stop_with_the_terminal(stop: StopRequest) -> None:
    """A terminal that is closed sends SIGHUP, which must not leave PostgreSQL behind; under nohup it is not heard."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop.note)


def run(children: list[Child], stop: StopRequest, database: KeptPostgres | None) -> None:
    prepared = prepare(stop)
    if prepared is None:
        return
    url = own_url(env.environment().bind_address, env.environment().port)
    web, workers = _web(), _workers()
    for child in (web, workers):
        if not stop.asked:
            children.append(child)
            child.start()
    if wait_for_web(web, url, stop):
        say(welcome(url, prepared))
    kept: list[KeptPostgres | Child] = [*([database] if database else []), *children]
    while not stop.asked:
        for each in kept:
            died = each.keep_running()
            if died:
                say(died)
        time.sleep(TICK_SECONDS)


def _choose_settings(port: int | None) -> None:
    if port is not None:
        env.provide("PORT", str(port))
    env.default("DJANGO_SETTINGS_MODULE", "settings.base")
    check_port(env.environment().bind_address, env.environment().port)


def check_port(address: str, port: int) -> None:
    """Raise SupervisorError unless gunicorn will be able to listen there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise SupervisorError(
                f"Port {port} of {address} cannot be used ({error.strerror}): "
                f"stop what uses it, or choose another one, as in make run PORT={port + 1 if port < 65535 else 8000}."
            ) from error


def _database() -> AbstractContextManager[KeptPostgres | None]:
    """Return DATABASE_URL's server as it is, or the embedded one for the length of the block."""
    if env.environment().database_url:
        return nullcontext()
    return _embedded()


@contextmanager
def _embedded() -> Iterator[KeptPostgres]:
    server = project_server(env.environment().data_dir)
    with attached(server) as url:
        say(f"PostgreSQL runs on a socket in {server.sockets}; its data is in {server.home}.")
        env.provide("DATABASE_URL", url)
        yield KeptPostgres(server)


def _web() -> Child:
    command = [sys.executable, "-m", "gunicorn", "--config", "python:settings.gunicorn"]
    return Child("gunicorn", command, env.for_child_process(), PROJECT)


def _workers() -> Child:
    command = [sys.executable, "manage.py", "run_subscriptions"]
    return Child("run_subscriptions", command, env.for_child_process(), PROJECT)


def own_url(address: str, port: int) -> str:
    """Return where this machine reaches its web; "every address" is none that a request could name."""
    return f"http://{in_url(LOOPBACK_OF.get(address, address))}:{port}"


def wait_for_web(web: Child, url: str, stop: StopRequest) -> bool:
    """Return True once any answer comes, False when a stop was asked for; raises SupervisorError."""
    deadline = time.monotonic() + WEB_START_SECONDS
    while not stop.asked:
        if _answers(f"{url}/health/live"):
            return True
        if not web.running:
            raise SupervisorError(
                f"gunicorn ended with status {web.status} while starting: its log is above."
            )
        if time.monotonic() > deadline:
            raise SupervisorError(
                f"gunicorn gave no answer on {url} within {WEB_START_SECONDS} s: its log is above."
            )
        time.sleep(TICK_SECONDS)
    return False


def _answers(url: str) -> bool:
    try:
        _direct.open(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def _finally_stopped(stop: StopRequest) -> Iterator[list[Child]]:
    """Yield a list for children; whatever happens in the block, none of them runs after it."""
    children: list[Child] = []
    try:
        yield children
    finally:
        if any(child.running for child in children):
            say("Stopping … (Ctrl-C again after a second: at once)")
        stop_all(children, stop, env.environment().shutdown_timeout_seconds + GRACE_SECONDS)


def welcome(url: str, prepared: Prepared) -> str:
    token = prepared.token or "$TOKEN"
    shown = prepared.token or "TOKEN=$(manage.py api_token create NAME) makes one"
    return f"""
Orders      {url}/orders
Health      {url}/health
API docs    {url}/api/docs
Admin       {url}/admin/{prepared.admin_note}
API token   {shown}

Paste this to place an order:

  curl -i {url}/orders -H "Authorization: Bearer {token}" \\
       -H 'Content-Type: application/json' -d '{{"customer_id": "{uuid.uuid4()}", "total": "499.99"}}'

Ctrl-C stops everything; the data stays."""


if __name__ == "__main__":
    sys.exit(main())
