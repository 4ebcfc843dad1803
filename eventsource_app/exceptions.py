"""The root of every error that the engine raises on purpose."""


class EventSourceError(Exception):
    """Base of the engine's errors; each carries its values as attributes and says one sentence."""
