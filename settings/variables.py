"""Declaring environment variables: a field's name, kind, default and meaning in one line, read in one loop.

An empty variable counts as unset, because that is what `NAME=` in a compose file means. A secret may come
from a file instead: `NAME_FILE=/run/secrets/name` is read when `NAME` is unset.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

from eventsource_app.observability.collector import goes_by_grpc

YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
LONGEST_SECONDS = 86_400

Value = TypeVar("Value")
Settings = TypeVar("Settings")
# Makes a value of a variable's text; raises ValueError with what it must be ("a whole number from 1").
Kind = Callable[[str], Value]


@dataclass(frozen=True, slots=True)
class Variable:
    """What is to be known of one variable; *default* is None where nothing is assumed."""

    name: str
    kind: Kind[Any]
    default: Any
    meaning: str
    secret: bool = False

    def read(self, variables: Mapping[str, str]) -> Any:
        """Return the value, or the default where it is unset; raises ImproperlyConfigured."""
        text = variables.get(self.name, "").strip() or self._from_file(variables)
        if not text:
            return self.default
        try:
            return self.kind(text)
        except ValueError as error:
            shown = "set" if self.secret else repr(text)
            raise ImproperlyConfigured(f"{self.name} is {shown}: it must be {error}.") from None

    @property
    def default_text(self) -> str:
        """The default as one would set it; empty where there is none."""
        if self.default is None:
            return ""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def _from_file(self, variables: Mapping[str, str]) -> str:
        path = variables.get(f"{self.name}_FILE", "").strip() if self.secret else ""
        if not path:
            return ""
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ImproperlyConfigured(
                f"{self.name}_FILE names {path!r}, which cannot be read ({reason}): "
                f"correct the path or set {self.name}."
            ) from error
        if not text:
            raise ImproperlyConfigured(
                f"{self.name}_FILE names {path!r}, which is empty: write the value into it or set {self.name}."
            )
        return text


def variable(name: str, kind: Kind[Value], default: Any, meaning: str, *, secret: bool = False) -> Any:
    """Declare a dataclass field that is read from the environment variable *name*."""
    return dataclasses.field(
        default=default, metadata={"variable": Variable(name, kind, default, meaning, secret)}
    )


def declared(settings: type[Any]) -> Iterator[tuple[str, Variable]]:
    """Yield each field's name with its variable, in the order of the declarations."""
    for field in dataclasses.fields(settings):
        yield field.name, field.metadata["variable"]


def read(settings: type[Settings], variables: Mapping[str, str]) -> Settings:
    """Return *settings* made of *variables*; raises ImproperlyConfigured in one sentence."""
    return settings(**{name: variable.read(variables) for name, variable in declared(settings)})


def whole(minimum: int, maximum: int | None = None) -> Kind[int]:
    limits = f"from {minimum} to {maximum}" if maximum else f"of at least {minimum}"

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and minimum <= int(text) <= (maximum or int(text)):
            return int(text)
        raise ValueError(f"a whole number {limits}")

    return parse


def seconds_below(limit: int) -> Kind[float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if 0 < value < limit:
            return value
        raise ValueError(f"a number of seconds above 0 and below {limit}")

    return parse


seconds = seconds_below(LONGEST_SECONDS)


def address(text: str) -> str:
    """Return the bare address; in brackets, as a URL has it, an IPv6 address is the same."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def one_of(*choices: str) -> Kind[str]:
    def parse(text: str) -> str:
        if text in choices:
            return text
        raise ValueError(f"one of {', '.join(choices)}")

    return parse


def flag(text: str) -> bool:
    if text.lower() in YES + NO:
        return text.lower() in YES
    raise ValueError("true or false")


def rate(text: str) -> str:
    """Return the text as it is; what it means is the API's to say."""
    if text == "off" or re.fullmatch(r"[1-9][0-9]{0,8}/(s|min|h)", text):
        return text
    raise ValueError("a rate such as 600/min (s, min, h), or off")


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def origins(text: str) -> tuple[str, ...]:
    found = words(text)
    for origin in found:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ValueError("origins with their scheme, as in https://shop.example,https://*.shop.example")
    return found


def collector(text: str) -> str:
    """Return where traces go, if they can."""
    goes_by_grpc(text)
    return text


def header_and_value(text: str) -> tuple[str, str] | None:
    """Return Django's pair for `X-Forwarded-Proto: https` (or its own form, HTTP_X_FORWARDED_PROTO,https)."""
    if text.lower() == "none":
        return None
    match = re.fullmatch(r"([A-Za-z][\w-]*)\s*[:,=]\s*(\w+)", text)
    if match is None:
        raise ValueError("a header and its value, as in X-Forwarded-Proto: https, or none")
    name = match[1].upper().replace("-", "_")
    return (name if name.startswith("HTTP_") else f"HTTP_{name}"), match[2]
