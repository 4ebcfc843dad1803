"""``manage.py run_subscriptions``: the worker process."""

import os
import sys
from argparse import SUPPRESS, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from eventsource_app.management.autoreload import REASON, CodeWatcher, restart
from eventsource_app.management.collection import relax_collection
from eventsource_app.management.operating import DatabaseCommand
from eventsource_app.management.stop_request import EARLY
from eventsource_app.management.supervision import Supervision, worker_command
from eventsource_app.observability import tracing
from eventsource_app.observability.pool import log_pool
from eventsource_app.probes.worker_server import WorkerProbes
from eventsource_app.store.event_store import EventStore
from eventsource_app.store.notifications import close_wake_ups
from eventsource_app.store.session import leave_pool, option
from eventsource_app.subscriptions import ShutdownResult, SubscriptionManager, declared_subscriptions
from eventsource_app.subscriptions.checkpoints import LEASE_SECONDS
from eventsource_app.subscriptions.config import ConfigurationError, HealthCheckConfig
from eventsource_app.subscriptions.partitions import Pin

MAX_PORT: Final = 65_535


class Command(DatabaseCommand):
    help = "Runs the declared subscriptions until SIGTERM or SIGINT; a second signal ends it at once."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "names", nargs="*", metavar="NAME", help="only these subscriptions (default: all declared)"
        )
        parser.add_argument(
            "--processes", type=_count, default=1, metavar="N", help="so many processes on this host"
        )
        parser.add_argument(
            "--supervised", action="store_true", help=SUPPRESS
        )  # what is said once is said already
        parser.add_argument("--until-caught-up", action="store_true", help="handle what is there, then exit")
        parser.add_argument(
            "--probe-port",
            type=_port,
            metavar="P",
            help="serve /health* here; process n of N takes P + n - 1",
        )
        parser.add_argument("--heartbeat-file", type=_file, metavar="F", help="touched while the loops move")
        parser.add_argument(
            "--reload",
            action=BooleanOptionalAction,
            help="start anew when the code changes (default: with DEBUG)",
        )
        parser.add_argument(
            "--shutdown-timeout",
            type=_seconds,
            default=None,
            metavar="S",
            help="seconds for a whole graceful stop (default: EVENTSOURCE['SHUTDOWN_TIMEOUT'], else 60)",
        )
        parser.add_argument(
            "--drain-timeout",
            type=_seconds,
            default=None,
            metavar="S",
            help="seconds of it for the batches that run (default: EVENTSOURCE['DRAIN_TIMEOUT'], else 30)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._handle(options)
        except (
            ConfigurationError,
            ImproperlyConfigured,
        ) as error:  # a setting, a pin, the database's tables: for somebody to mend
            raise CommandError(str(error)) from error

    def _handle(self, options: dict[str, Any]) -> None:
        _check_ports(options["probe_port"], options["processes"])
        if not options["supervised"]:
            log_pool({**option("POOL", {}), "processes": options["processes"]})
        if options["processes"] > 1:
            sys.exit(self._supervise(options))
        tracing.set_up(**option("TRACING", {}))
        leave_pool(options["database"])
        manager = self._manager(options)
        for subscription in self._chosen(options["names"]):
            manager.subscribe(subscription.projection, subscription.config, subscription.name)
        watcher = self._watcher(manager, options)
        relax_collection()
        with self._probes(manager, options["probe_port"], options["database"]):
            result = (
                manager.run_until_caught_up() if options["until_caught_up"] else manager.run_until_shutdown()
            )
        if watcher and watcher.changed and result.reason == REASON:
            close_wake_ups()
            restart(EARLY)
        self._exit(manager, result, options["until_caught_up"])

    def _watcher(self, manager: SubscriptionManager, options: dict[str, Any]) -> CodeWatcher | None:
        wanted = settings.DEBUG if options["reload"] is None else options["reload"]
        if not wanted or options["until_caught_up"]:
            return None
        watcher = CodeWatcher(manager.request_shutdown)
        watcher.start()
        return watcher

    def _supervise(self, options: dict[str, Any]) -> int:
        self._chosen(options["names"])  # a wrong name is told once, before anything starts
        passed = ["--supervised"]
        passed += ["--until-caught-up"] if options["until_caught_up"] else []
        if options["reload"] is not None:
            passed.append("--reload" if options["reload"] else "--no-reload")
        for name in ("shutdown_timeout", "drain_timeout", "pythonpath", "database"):
            if options[name] is not None:
                passed += [f"--{name.replace('_', '-')}", str(options[name])]
        commands = [
            worker_command(options["names"], [*passed, *_own_options(options, number)])
            for number in range(options["processes"])
        ]
        timeout = options["shutdown_timeout"] or float(option("SHUTDOWN_TIMEOUT", 60))
        return Supervision(commands, timeout, EARLY, finite=options["until_caught_up"]).run()

    def _manager(self, options: dict[str, Any]) -> SubscriptionManager:
        return SubscriptionManager(
            EventStore(options["database"]),
            shutdown_timeout=options["shutdown_timeout"] or float(option("SHUTDOWN_TIMEOUT", 60)),
            drain_timeout=options["drain_timeout"] or float(option("DRAIN_TIMEOUT", 30)),
            health_check_config=HealthCheckConfig(**option("HEALTH", {})),
            pin=_pin(),
            lease_seconds=float(option("LEASE_SECONDS", LEASE_SECONDS)),
            heartbeat_file=options["heartbeat_file"],
            asked_early=lambda: EARLY.reason,
        )

    @contextmanager
    def _probes(self, manager: SubscriptionManager, port: int | None, using: str) -> Iterator[None]:
        """Answer from before the start, truthfully: until then the process is neither ready nor alive."""
        if port is None:
            yield
            return
        try:
            probes = WorkerProbes(manager, str(option("PROBE_ADDRESS", "127.0.0.1")), port, using)
        except OSError as error:
            raise CommandError(
                f"Probe port {port} cannot be used ({error.strerror}); choose another."
            ) from error
        try:
            yield
        finally:
            probes.close()

    def _chosen(self, names: list[str]) -> list[Any]:
        declared = declared_subscriptions()
        unknown = sorted(set(names) - set(declared))
        if unknown:
            raise CommandError(
                f"There is no subscription {', '.join(unknown)}; declared are: {', '.join(declared) or 'none'}.",
                returncode=2,
            )
        if not declared:
            raise CommandError(
                "No app declares a subscription; add one with @subscription in an app's subscriptions.py."
            )
        return [declared[name] for name in dict.fromkeys(names or declared)]

    def _exit(self, manager: SubscriptionManager, result: ShutdownResult, draining: bool) -> None:
        close_wake_ups()
        if result.forced:
            # A worker still hangs in its handler: interpreter exit would wait for it.
            sys.stderr.flush()
            os._exit(130 if result.reason == "SIGINT" else 143)
        if draining and manager.unhandled:
            raise CommandError(f"{manager.unhandled} `manage.py subscription_status` says where it stands.")


def _check_ports(first: int | None, processes: int) -> None:
    """Each process has a port of its own; one that cannot be would end its process again and again."""
    if first is not None and first + processes - 1 > MAX_PORT:
        raise CommandError(
            f"--probe-port {first} cannot be with --processes {processes}: the last one would take {first + processes - 1}, "
            f"above {MAX_PORT}; choose a lower port.",
            returncode=2,
        )


def _own_options(options: dict[str, Any], number: int) -> list[str]:
    """What each supervised process has for itself: a port, a file."""
    port, file = options["probe_port"], options["heartbeat_file"]
    own = [] if port is None else ["--probe-port", str(port + number)]
    return (
        own if file is None else [*own, "--heartbeat-file", str(file) if number == 0 else f"{file}.{number}"]
    )


def _pin() -> Pin | None:
    events = getattr(settings, "EVENTSOURCE", {})
    if events.get("PARTITION_ID") is None:
        return None
    return Pin(int(events["PARTITION_ID"]), int(events.get("NUM_PARTITIONS") or 1))


def _count(text: str) -> int:
    value = _whole_number(text)
    if value < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 1")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _port(text: str) -> int:
    value = _whole_number(text)
    if not 1 <= value <= MAX_PORT:
        raise ArgumentTypeError(f"{text!r} is not a port from 1 to {MAX_PORT}")
    return value


def _whole_number(text: str) -> int:
    """Return the number, 0 for what is none; argparse would not show what a ValueError says."""
    try:
        return int(text)
    except ValueError:
        return 0


def _file(text: str) -> Path:
    path = Path(text)
    try:
        if not path.absolute().parent.is_dir():
            raise ArgumentTypeError(f"the folder of {path} does not exist")
        is_writable = not path.is_dir() and os.access(
            path if path.exists() else path.absolute().parent, os.W_OK
        )
    except OSError as error:  # a folder that may not be entered, a name that is too long
        raise ArgumentTypeError(f"{path} cannot be written ({error.strerror})") from error
    if not is_writable:
        raise ArgumentTypeError(f"{path} cannot be written")
    return path
