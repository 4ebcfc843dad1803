"""When an aggregate gets a snapshot."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """A snapshot whenever a save reaches or crosses a multiple of ``every`` versions."""

    every: int = 100

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(
                f"A snapshot is taken every 1 or more versions, so every={self.every} cannot be."
            )

    def is_due(self, before: int, after: int) -> bool:
        """Say whether a save from version ``before`` to ``after`` crossed a multiple."""
        return after // self.every > before // self.every
