"""``python -m tests.chaos.worker [managers]``: a worker process, with one manager or more, until SIGTERM."""

import os
import sys

import django

LEASE_SECONDS = 4.0
POLL_SECONDS = 0.1


def main(count: int) -> int:
    django.setup()
    # Not before: they need Django's settings.
    from eventsource_app.store import EventStore
    from eventsource_app.store.notifications import close_wake_ups
    from eventsource_app.store.session import leave_pool
    from eventsource_app.subscriptions import SubscriptionManager
    from eventsource_app.subscriptions.shutdown import StopRequest
    from eventsource_app.subscriptions.signals import StopSignals
    from tests.chaos.projections import registry, subscribe_all

    leave_pool("default")  # as run_subscriptions does
    managers = [
        SubscriptionManager(
            EventStore(registry=registry), shutdown_timeout=10, drain_timeout=5, lease_seconds=LEASE_SECONDS
        )
        for _ in range(count)
    ]
    stop = StopRequest()
    with StopSignals(stop.ask) as signals:
        for manager in managers:
            subscribe_all(manager)
            manager.start()
        while not stop:
            signals.wait(POLL_SECONDS)
        results = [manager.stop(stop.reason) for manager in managers]
    close_wake_ups()
    if any(result.forced for result in results):
        sys.stderr.flush()
        os._exit(143)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
