"""``python -m tests.chaos.operator retry|pause SUBSCRIPTION``: what somebody at the desk does while everything breaks.

``retry`` tries all open dead letters here and now, beside the worker; ``pause`` holds the subscription for a moment.
"""

import sys
import time

import django
from django.db import DatabaseError

from eventsource_app.store import EventStore
from eventsource_app.store.notifications import close_wake_ups
from eventsource_app.subscriptions.control import ControlError, pause, resume
from eventsource_app.subscriptions.letters import retry_all
from eventsource_app.subscriptions.registry import Subscription
from tests.chaos.projections import PROJECTIONS, config_of, registry

PAUSE_SECONDS = 1.0


def main(verb: str, name: str) -> int:
    django.setup()
    try:
        {"retry": _retry, "pause": _pause}[verb](name)
    except (ControlError, DatabaseError) as error:
        print(f"Operator could not {verb} {name}: {error}", file=sys.stderr)
    finally:
        close_wake_ups()
    return 0


def _retry(name: str) -> None:
    subscriptions = {p.name: Subscription(p.name, p(), config_of(p.name)) for p in PROJECTIONS}
    report = retry_all(name, "chaos", store=EventStore(registry=registry), subscriptions=subscriptions)
    print(f"Operator retried {len(report.results)} letters of {name}: {report}")


def _pause(name: str) -> None:
    pause(name, "chaos", "the campaign")
    time.sleep(PAUSE_SECONDS)
    resume(name, "chaos")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
