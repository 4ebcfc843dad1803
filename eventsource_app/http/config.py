"""What a deployment may say about its API: ``EVENTSOURCE["API"]``, checked by ``manage.py check``."""

from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, get_args

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from eventsource_app.store.session import option

Access = Literal["open", "token", "off"]
_PERIODS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: all at once, or spread."""

    count: int
    seconds: int

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @classmethod
    def parse(cls, text: str) -> "Rate | None":
        """Return the rate of a text such as ``600/min`` (``s``, ``min``, ``h``); ``off`` is None. Raises ValueError."""
        if text == "off":
            return None
        count, _, period = text.partition("/")
        if not (count.isascii() and count.isdigit() and 0 < int(count) < 10**9 and period in _PERIODS):
            raise ValueError(f"{text!r} is no rate: write it as in 600/min (s, min, h), or off.")
        return cls(int(count), _PERIODS[period])


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Durations are in seconds. Raises ``ImproperlyConfigured`` for what cannot be."""

    authentication_required: bool = True
    # Of one caller, over all processes.
    throttle: str = "36000/min"
    # Of one address, for requests whose credentials were refused.
    failure_throttle: str = "300/min"
    # How long a process believes what it read of a token: a revoked one may be used for so long.
    token_cache_seconds: float = 1.0
    # Proxies in front that append to X-Forwarded-For; 0 believes no header.
    trusted_proxy_count: int = 0
    # How long ?wait_for= and Prefer: wait may take, and how many requests of a process may wait at a time.
    wait_seconds: float = 5.0
    waiter_count: int = 4
    docs: Access = "open"
    metrics: Access = "open"

    def __post_init__(self) -> None:
        try:
            Rate.parse(self.throttle), Rate.parse(self.failure_throttle)
        except ValueError as error:
            raise _refused(str(error)) from error
        for name in ("docs", "metrics"):
            if getattr(self, name) not in get_args(Access):
                raise _refused(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(get_args(Access))}."
                )
        for name in ("token_cache_seconds", "trusted_proxy_count", "wait_seconds", "waiter_count"):
            if not 0 <= getattr(self, name) < 3600:
                raise _refused(f"{name} is {getattr(self, name)!r}; use a number from 0, below 3600.")


@cache
def api_config() -> ApiConfig:
    """Return the configuration, read once; raises ``ImproperlyConfigured``."""
    given: dict[str, Any] = option("API", {})
    known = {field.name for field in fields(ApiConfig)}
    if unknown := sorted(set(given) - known):
        raise _refused(f"there is no {unknown[0]!r}; use some of {', '.join(sorted(known))}.")
    return ApiConfig(**given)


def _refused(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f'EVENTSOURCE["API"]: {reason}')


@receiver(setting_changed)
def _forget(setting: str, **_: Any) -> None:
    """Tests change settings while the process runs."""
    if setting == "EVENTSOURCE":
        api_config.cache_clear()
