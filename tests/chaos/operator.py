"""``python -m tests.chaos.operator VERB SUBSCRIPTION``: what somebody at the desk does while everything breaks.

``retry`` tries all open dead letters here and now, beside the worker; ``pause`` holds the subscription for a moment;
``rebuild`` empties its read model and starts over; ``2``, ``4`` or ``8`` is how many partitions it gets.
"""

import sys
import time

import django
from django.db import DatabaseError

from eventsource_app.store import EventStore
from eventsource_app.store.notifications import close_wake_ups
from eventsource_app.subscriptions.control import ControlError, pause, resume
from eventsource_app.subscriptions.letters import retry_all
from eventsource_app.subscriptions.rebuilding import rebuild
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.repartitioning import change_partitions
from tests.chaos.projections import PROJECTIONS, config_of, registry

PAUSE_SECONDS = 1.0


def main(verb: str, name: str) -> int:
    django.setup()
    try:
        if verb.isdigit():
            _change_partitions(name, int(verb))
        else:
            {"retry": _retry, "pause": _pause, "rebuild": _rebuild}[verb](name)
    except (ControlError, DatabaseError) as error:
        print(f"Operator could not {verb} {name}: {error}", file=sys.stderr)
    finally:
        close_wake_ups()
    return 0


def _subscriptions() -> dict[str, Subscription]:
    return {p.name: Subscription(p.name, p(), config_of(p.name)) for p in PROJECTIONS}


def _retry(name: str) -> None:
    report = retry_all(name, "chaos", store=EventStore(registry=registry), subscriptions=_subscriptions())
    print(f"Operator retried {len(report.results)} letters of {name}: {report}")


def _pause(name: str) -> None:
    pause(name, "chaos", "the campaign")
    time.sleep(PAUSE_SECONDS)
    resume(name, "chaos")


def _rebuild(name: str) -> None:
    print(rebuild(name, "chaos", store=EventStore(registry=registry), subscriptions=_subscriptions()))


def _change_partitions(name: str, count: int) -> None:
    store = EventStore(registry=registry)
    print(change_partitions(name, count, "chaos", store=store, subscriptions=_subscriptions()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
