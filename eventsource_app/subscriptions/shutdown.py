"""Shutting down: the phases, the request for it, and what came of it."""

import enum
import threading
from dataclasses import dataclass
from typing import Any


class ShutdownPhase(enum.Enum):
    RUNNING = "running"
    STOPPING = "stopping"
    DRAINING = "draining"
    CHECKPOINTING = "checkpointing"
    STOPPED = "stopped"
    FORCED = "forced"


@dataclass(frozen=True)
class ShutdownResult:
    """How it ended. ``events_in_flight`` were read ahead and dropped (they stay in the log);
    ``checkpoints_saved`` partitions were released at a committed position."""

    phase: ShutdownPhase
    duration_seconds: float
    forced: bool
    events_in_flight: int
    checkpoints_saved: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "phase": self.phase.value,
            "duration_seconds": round(self.duration_seconds, 3),
            "forced": self.forced,
            "events_in_flight": self.events_in_flight,
            "checkpoints_saved": self.checkpoints_saved,
            "reason": self.reason,
        }


class StopRequest:
    """Raised once, seen by every loop: a flag that can be waited for, and why."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def ask(self, reason: str) -> None:
        """Ask for a stop; the first reason stays."""
        self.reason = self.reason or reason
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not beyond a request; return whether there is one."""
        return self._event.wait(seconds)
