"""``python -m tests.chaos.worker --heartbeat-file F``: a process with two managers of the same subscriptions, until SIGTERM."""

import os
import sys
from pathlib import Path

import django

from eventsource_app.store import EventStore
from eventsource_app.store.notifications import close_wake_ups
from eventsource_app.store.session import leave_pool
from eventsource_app.subscriptions import SubscriptionManager
from eventsource_app.subscriptions.shutdown import StopRequest
from eventsource_app.subscriptions.signals import StopSignals
from tests.chaos.projections import registry, subscribe_all

LEASE_SECONDS = 4.0
POLL_SECONDS = 0.1


def main(beats: Path) -> int:
    django.setup()
    leave_pool("default")  # as run_subscriptions does
    managers = [_manager(file) for file in (beats, beats.with_name(f"{beats.name}.1"))]
    stop = StopRequest()
    with StopSignals(stop.ask) as signals:
        for manager in managers:
            manager.start()
        while not stop:
            signals.wait(POLL_SECONDS)
        results = [manager.stop(stop.reason) for manager in managers]
    close_wake_ups()
    if any(result.forced for result in results):
        sys.stderr.flush()
        os._exit(143)
    return 0


def _manager(heartbeat_file: Path) -> SubscriptionManager:
    manager = SubscriptionManager(
        EventStore(registry=registry),
        shutdown_timeout=10,
        drain_timeout=5,
        lease_seconds=LEASE_SECONDS,
        heartbeat_file=heartbeat_file,
    )
    subscribe_all(manager)
    return manager


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[2])))
