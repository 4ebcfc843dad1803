"""The roster: which subscriptions one process has, and why some of them may not run."""

import logging
import time
from typing import Final, TypeVar

from django.db import DatabaseError, InterfaceError

from eventsource_app.store.event_store import EventStore
from eventsource_app.subscriptions.config import ConfigurationError
from eventsource_app.subscriptions.enrolment import SubscriptionRefusedError, enrol
from eventsource_app.subscriptions.errors import ErrorCategory
from eventsource_app.subscriptions.partitions import Pin
from eventsource_app.subscriptions.registry import Subscription
from eventsource_app.subscriptions.reporting import ErrorCallbacks, critical_info

logger = logging.getLogger("eventsource.manager")
Value = TypeVar("Value")
LOOK_AGAIN_SECONDS: Final = 5.0


class Roster:
    """Subscriptions by name. Threads read it while others change it, so what is read is never changed, only replaced."""

    def __init__(self, store: EventStore, callbacks: ErrorCallbacks, pin: Pin | None = None) -> None:
        self._store = store
        self._callbacks = callbacks
        self._pin = pin
        self._subscriptions: dict[str, Subscription] = {}
        self._refused: dict[str, str] = {}
        self._unasked: frozenset[str] = frozenset()  # that came while the database was away
        self._next_look = 0.0

    @property
    def names(self) -> list[str]:
        return sorted(self._subscriptions)

    @property
    def refused(self) -> dict[str, str]:
        """Why subscriptions do not run, by name."""
        return dict(self._refused)

    def add(self, subscription: Subscription) -> None:
        name = subscription.name
        if name in self._subscriptions:
            raise ConfigurationError(f"Subscription {name!r} is there already; give this one another name.")
        self._subscriptions = {**self._subscriptions, name: subscription}

    def remove(self, name: str) -> None:
        self._subscriptions = _without(self._subscriptions, name)
        self._refused = _without(self._refused, name)

    def enrol_all(self) -> None:
        """See to it that each has its rows and may run."""
        self._refused = {}
        for subscription in self._subscriptions.values():
            self.enrol(subscription)
        self._next_look = time.monotonic() + LOOK_AGAIN_SECONDS

    def enrol_when_possible(self, subscription: Subscription) -> None:
        """The same for one that comes while the others run, which an outage must not keep from its place."""
        try:
            self.enrol(subscription)
        except (DatabaseError, InterfaceError) as error:
            logger.warning(
                "Subscription waits for the database",
                extra={"subscription": subscription.name, "error_message": str(error).strip()},
            )
            self._unasked |= {subscription.name}

    def enrol(self, subscription: Subscription) -> None:
        name = subscription.name
        try:
            enrol(self._store, subscription, self._pin)
        except SubscriptionRefusedError as error:
            if self._refused.get(name) != str(error):
                self._tell(name, error)
            self._refused = {**self._refused, name: str(error)}
            self._unasked -= {name}
        else:
            if name in self._refused:
                logger.info("Subscription no longer refused", extra={"subscription": name})
            self._refused = _without(self._refused, name)
            self._unasked -= {name}

    def runnable(self) -> dict[str, Subscription]:
        """Return what may run; what was refused is looked at again now and then, since an operator may have mended it."""
        subscriptions = self._subscriptions
        unsettled = self._unasked | self._refused.keys()
        if unsettled and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_AGAIN_SECONDS
            for name in unsettled & subscriptions.keys():
                self.enrol(subscriptions[name])
        return {name: found for name, found in subscriptions.items() if name not in self._refused}

    def _tell(self, name: str, error: SubscriptionRefusedError) -> None:
        logger.critical("Subscription refused", extra={"subscription": name, "error_message": str(error)})
        self._callbacks.tell(critical_info(name, None, error, ErrorCategory.APPLICATION))


def _without(found: dict[str, Value], name: str) -> dict[str, Value]:
    return {key: value for key, value in found.items() if key != name}
