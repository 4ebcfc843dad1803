"""The only reader of os.environ: every variable of the deployment, declared here and nowhere else.

To add one: a line in Environment, and its row in docs/environment.md (a test compares the two).
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from settings.variables import (
    address,
    collector,
    flag,
    folder,
    header_and_value,
    in_url,
    one_of,
    origins,
    rate,
    read,
    seconds,
    seconds_below,
    variable,
    whole,
    words,
)

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
POOLERS = ("none", "transaction")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


# fmt: off
@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says; None means that it says nothing."""

    database_url: str | None = variable(
        "DATABASE_URL", str, None, "where PostgreSQL is: postgresql://user:password@host:5432/name", secret=True)
    test_database_url: str | None = variable(
        "TEST_DATABASE_URL", str, None, "a server for the tests; unset, they start one of their own")
    data_dir: Path | None = variable(
        "DATA_DIR", folder, None, "the embedded PostgreSQL's data; unset, .data of the project")
    db_ssl_mode: str | None = variable(
        "DB_SSL_MODE", one_of(*SSL_MODES), None, "TLS to the database; unset, `require` for a remote host")
    db_ssl_root_cert: str | None = variable(
        "DB_SSL_ROOT_CERT", str, None, "the file with the authority that signed the database's certificate")
    db_pool_timeout_seconds: float = variable(
        "DB_POOL_TIMEOUT", seconds, 30.0, "seconds to wait for a connection; gunicorn sets 5, so that callers get their 503 soon")
    db_pooler: str = variable(
        "DB_POOLER", one_of(*POOLERS), "none", "`transaction` behind PgBouncer in transaction mode")
    max_db_connections: int = variable(
        "MAX_DB_CONNECTIONS", whole(1), 100, "the server's connections that may be shared out")
    instance_count: int = variable(
        "INSTANCE_COUNT", whole(1), 1, "web and worker pods together")
    db_pool_size: int | None = variable(
        "DB_POOL_SIZE", whole(1), None, "an instance's steady connections, instead of the arithmetic")
    db_max_overflow: int | None = variable(
        "DB_MAX_OVERFLOW", whole(0), None, "an instance's further connections, instead of the arithmetic")
    bind_address: str = variable(
        "BIND_ADDRESS", address, "127.0.0.1", "the address that gunicorn and the workers' probes listen on")
    port: int = variable(
        "PORT", whole(1, 65535), 8000, "gunicorn's port")
    web_concurrency: int = variable(
        "WEB_CONCURRENCY", whole(1), 2, "gunicorn's processes in one instance")
    web_threads: int = variable(
        "WEB_THREADS", whole(1), 8, "the threads of each of them")
    shutdown_timeout_seconds: float = variable(
        "SHUTDOWN_TIMEOUT", seconds, 60.0, "seconds for a worker's whole stop")
    drain_timeout_seconds: float = variable(
        "DRAIN_TIMEOUT", seconds, 30.0, "seconds of it for the batches that run")
    partition_id: int | None = variable(
        "PARTITION_ID", whole(0), None, "pins a worker to one partition, with NUM_PARTITIONS; unset, leases decide")
    num_partitions: int | None = variable(
        "NUM_PARTITIONS", whole(1, 1024), None, "how many partitions PARTITION_ID is one of")
    log_level: str = variable(
        "LOG_LEVEL", one_of(*LOG_LEVELS), "INFO", "the least level that is logged")
    service_name: str = variable(
        "SERVICE_NAME", str, "eventsource-app", "the name in traces and in pg_stat_activity")
    service_version: str = variable(
        "SERVICE_VERSION", str, "1.0.0", "the version in traces")
    otlp_endpoint: str | None = variable(
        "OTLP_ENDPOINT", collector, None, "where traces go; unset, there is no tracing at all")
    secret_key: str | None = variable(
        "SECRET_KEY", str, None, "Django's key; required in production, 50 random characters or more", secret=True)
    allowed_hosts: tuple[str, ...] = variable(
        "ALLOWED_HOSTS", words, (), "the hosts this site answers to; required in production")
    csrf_trusted_origins: tuple[str, ...] = variable(
        "CSRF_TRUSTED_ORIGINS", origins, (), "origins whose forms are taken, as in https://shop.example")
    secure_proxy_ssl_header: tuple[str, str] | None = variable(
        "SECURE_PROXY_SSL_HEADER", header_and_value, ("HTTP_X_FORWARDED_PROTO", "https"),
        "what the proxy in front sets, and overwrites, when TLS ends there; `none` trusts no header")
    api_auth: bool = variable(
        "API_AUTH", flag, True, "whether the API wants a token; false lets everybody in")
    api_throttle: str = variable(
        "API_THROTTLE", rate, "36000/min", "requests of one caller, over all processes: 600/min, 20/s, off")
    api_failure_throttle: str = variable(
        "API_FAILURE_THROTTLE", rate, "300/min", "requests with refused credentials, of one address")
    api_wait_seconds: float = variable(
        "API_WAIT_SECONDS", seconds_below(3600), 5.0, "how long ?wait_for= and Prefer: wait may take")
    api_docs: str = variable(
        "API_DOCS", one_of("open", "token", "off"), "open", "who may read /api/docs and /api/openapi.json")
    metrics: str = variable(
        "METRICS", one_of("open", "token", "off"), "open", "who may read /metrics")
    trusted_proxy_count: int = variable(
        "TRUSTED_PROXY_COUNT", whole(0), 0, "proxies in front that append to X-Forwarded-For; 0 believes none")
    debug: bool | None = variable(
        "DEBUG", flag, None, "on in development, refused in production")
# fmt: on

    @property
    def bind(self) -> str:
        """Where gunicorn listens, as a URL has it."""
        return f"{in_url(self.bind_address)}:{self.port}"


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Return the typed environment of *variables*, or raise ImproperlyConfigured."""
    environment = read(Environment, variables)
    _check_pin(environment.partition_id, environment.num_partitions)
    return environment


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
