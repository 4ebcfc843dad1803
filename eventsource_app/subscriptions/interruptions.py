"""What ends an attempt without being the fault of an event or its handler; the worker acts on each."""

from eventsource_app.exceptions import EventSourceError
from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions.errors import describe


class Interruption(EventSourceError):  # noqa: N818 - not an error of anything: delivery ends here for now
    """What ends an attempt without being the fault of an event or its handler."""


class LeaseLostError(Interruption):
    """Another process owns the partition now; what this one was about to do is undone."""

    def __init__(self, subscription: str, partition: int) -> None:
        super().__init__(
            f"The lease of {subscription} (partition {partition}) went to another process; stepping back."
        )
        self.subscription, self.partition = subscription, partition


class CheckpointMovedError(Interruption):
    """Somebody moved the checkpoint (a reset, a rebuild); what was read ahead is of no use."""

    def __init__(self, name: str, expected: int, found: int) -> None:
        super().__init__(
            f"The checkpoint of {name} was expected at {expected} and is at {found}; reading again from there."
        )
        self.expected, self.found = expected, found


class LetterClosedError(CheckpointMovedError):
    """Events were passed over as parked while failures were held back, and then their aggregate's letter was closed."""

    def __init__(self, name: str, position: int) -> None:
        super().__init__(name, position, position)
        self.args = (
            f"A dead letter of {name} was closed while later events waited; reading again from {position}.",
        )


class CutShortError(Interruption):
    """A stop has cancelled the statement that a handler was waiting for; that says nothing of its event."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"A handler of {name} was cut short by the stop; its event is handled at the next start."
        )


class NotRunningError(Interruption):
    """The subscription is paused, stopped or being rebuilt."""

    def __init__(self, name: str, state: str) -> None:
        super().__init__(f"Subscription {name} is {state}; resume it to go on.")
        self.state = state


class StoppedError(Interruption):
    """The subscription stops here by its own configuration, visibly."""


class BreakerOpenedError(Interruption):
    """A run of failures of different aggregates: the world is broken, not the events."""


class WorldError(Interruption):
    """What failed is not an event's fault: back off, connect again, try again."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(describe(error))
        self.error = error


class DeadLetterLimitError(Interruption):
    """The subscription has as many dead letters as it may have."""

    def __init__(self, name: str, limit: int, recorded: RecordedEvent) -> None:
        super().__init__(
            f"Subscription {name} has reached max_dead_letters={limit}, so {recorded.event_type} at position "
            f"{recorded.position} was not parked; retry or discard dead letters, then resume it."
        )
        self.recorded = recorded
