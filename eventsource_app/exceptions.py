"""The root of every error that the engine raises on purpose."""

from collections.abc import Callable
from typing import Any, Self


class EventSourceError(Exception):
    """Base of the engine's errors; each carries its values as attributes and says one sentence."""

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[type[Self], tuple[Any, ...], dict[str, Any]]]:
        """Cross to another process as it is: pickle would call the class with the sentence in place of its values."""
        return _remade, (type(self), self.args, self.__dict__)


def _remade(error_class: type[Any], arguments: tuple[Any, ...], values: dict[str, Any]) -> Any:
    error = error_class.__new__(error_class, *arguments)
    error.__dict__.update(values)
    return error
