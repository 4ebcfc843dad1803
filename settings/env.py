"""The only reader of os.environ: every variable of the deployment, typed, with sentences for mistakes.

A secret may come from a file instead: `NAME_FILE=/run/secrets/name` is read when `NAME` is unset.
An empty variable counts as unset, because that is what `NAME=` in a compose file means.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says; None means that it says nothing."""

    database_url: str | None
    test_database_url: str | None
    db_ssl_mode: str | None
    db_ssl_root_cert: str | None
    db_pool_size: int | None
    db_max_overflow: int | None
    max_db_connections: int
    instance_count: int
    bind_address: str
    port: int
    web_concurrency: int
    web_threads: int
    shutdown_timeout_seconds: float
    drain_timeout_seconds: float
    log_level: str
    service_name: str
    service_version: str
    otlp_endpoint: str | None
    partition_id: int | None
    num_partitions: int | None
    secret_key: str | None
    allowed_hosts: tuple[str, ...]
    debug: bool | None
    data_dir: Path | None


class Reader:
    """Typed access to a mapping of variables. Raises ImproperlyConfigured, in one sentence."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str | None:
        return self._variables.get(name, "").strip() or None

    def text_or_file(self, name: str) -> str | None:
        path = self.text(f"{name}_FILE")
        if self.text(name) is not None or path is None:
            return self.text(name)
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names {path!r}, which cannot be read ({error.strerror}): "
                f"correct the path or set {name}."
            ) from error

    def integer(self, name: str, minimum: int, maximum: int | None = None) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        if text.isascii() and text.isdigit() and minimum <= int(text) <= (maximum or int(text)):
            return int(text)
        limits = f"from {minimum} to {maximum}" if maximum else f"of at least {minimum}"
        raise ImproperlyConfigured(f"{name} is {text!r}: it must be a whole number {limits}.")

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = -1.0
        if 0 < value < 86_400:
            return value
        raise ImproperlyConfigured(f"{name} is {text!r}: it must be a number of seconds above 0.")

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        text = self.text(name)
        if text is None or text in choices:
            return text
        raise ImproperlyConfigured(f"{name} is {text!r}: it must be one of {', '.join(choices)}.")

    def boolean(self, name: str) -> bool | None:
        text = self.text(name)
        if text is None:
            return None
        if text.lower() not in YES + NO:
            raise ImproperlyConfigured(f"{name} is {text!r}: it must be true or false.")
        return text.lower() in YES

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in (self.text(name) or "").split(",") if word.strip())


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Return the typed environment of *variables*, or raise ImproperlyConfigured."""
    read = Reader(variables)
    partition_id, num_partitions = read.integer("PARTITION_ID", 0), read.integer("NUM_PARTITIONS", 1, 1024)
    _check_pin(partition_id, num_partitions)
    data_dir = read.text("DATA_DIR")
    return Environment(
        database_url=read.text_or_file("DATABASE_URL"),
        test_database_url=read.text("TEST_DATABASE_URL"),
        db_ssl_mode=read.choice("DB_SSL_MODE", SSL_MODES),
        db_ssl_root_cert=read.text("DB_SSL_ROOT_CERT"),
        db_pool_size=read.integer("DB_POOL_SIZE", 1),
        db_max_overflow=read.integer("DB_MAX_OVERFLOW", 0),
        max_db_connections=read.integer("MAX_DB_CONNECTIONS", 1) or 100,
        instance_count=read.integer("INSTANCE_COUNT", 1) or 1,
        bind_address=read.text("BIND_ADDRESS") or "127.0.0.1",
        port=read.integer("PORT", 1, 65535) or 8000,
        web_concurrency=read.integer("WEB_CONCURRENCY", 1) or 2,
        web_threads=read.integer("WEB_THREADS", 1) or 8,
        shutdown_timeout_seconds=read.seconds("SHUTDOWN_TIMEOUT", 60),
        drain_timeout_seconds=read.seconds("DRAIN_TIMEOUT", 30),
        log_level=read.choice("LOG_LEVEL", LOG_LEVELS) or "INFO",
        service_name=read.text("SERVICE_NAME") or "eventsource-app",
        service_version=read.text("SERVICE_VERSION") or "1.0.0",
        otlp_endpoint=read.text("OTLP_ENDPOINT"),
        partition_id=partition_id,
        num_partitions=num_partitions,
        secret_key=read.text_or_file("SECRET_KEY"),
        allowed_hosts=read.words("ALLOWED_HOSTS"),
        debug=read.boolean("DEBUG"),
        data_dir=Path(data_dir).expanduser().absolute() if data_dir else None,
    )


def _check_pin(partition_id: int | None, num_partitions: int | None) -> None:
    if (partition_id is None) != (num_partitions is None):
        raise ImproperlyConfigured(
            "PARTITION_ID and NUM_PARTITIONS pin a worker together: set both or neither."
        )
    if partition_id is not None and num_partitions is not None and partition_id >= num_partitions:
        raise ImproperlyConfigured(
            f"PARTITION_ID is {partition_id}, but with NUM_PARTITIONS={num_partitions} "
            f"it must be from 0 to {num_partitions - 1}."
        )


@functools.cache
def environment() -> Environment:
    """Return this process's environment, read once."""
    return read_environment(os.environ)


def provide(name: str, value: str) -> None:
    """Set a variable for this process and those it starts, as if the deployment had set it."""
    os.environ[name] = value
    environment.cache_clear()


def default(name: str, value: str) -> str:
    """Set a variable unless the deployment has set it; return what it is now."""
    if not os.environ.get(name):
        provide(name, value)
    return os.environ[name]


def for_child_process(**changes: str | None) -> dict[str, str]:
    """Return a copy of the environment for a process that we start; None takes a variable out."""
    merged: dict[str, str | None] = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}
