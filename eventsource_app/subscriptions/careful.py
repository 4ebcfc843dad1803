"""Careful mode: where processes have died, events are tried alone, each after a mark that is committed before it."""

from typing import Final

from eventsource_app.store.recorded_event import RecordedEvent
from eventsource_app.subscriptions import checkpoints
from eventsource_app.subscriptions.checkpoints import Lease
from eventsource_app.subscriptions.errors import ProcessKillerError

# So many owners must have died at one position before events are tried alone, and so many of one event to park it.
CAREFUL_AFTER: Final = 2
DEATHS_TO_PARK: Final = 2


class CarefulMode:
    """On for the first ``events`` events of a lease whose former owners have died at its position."""

    def __init__(self, using: str, lease: Lease, events: int) -> None:
        self._using = using
        self._lease = lease
        died_here = lease.unclean_takeover_count >= CAREFUL_AFTER or lease.careful_position is not None
        self._left = events if died_here else 0

    def __bool__(self) -> bool:
        return self._left > 0

    def mark(self, recorded: RecordedEvent) -> None:
        """Commit which event is tried; raises ``ProcessKillerError`` for one that has killed twice, so that it is not."""
        self._left -= 1
        lease = self._lease
        if recorded.position == lease.careful_position and lease.careful_death_count >= DEATHS_TO_PARK:
            raise ProcessKillerError(recorded, lease.careful_death_count)
        checkpoints.mark(self._using, lease, recorded.position)
