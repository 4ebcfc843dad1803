"""DATABASE_URL and the connection arithmetic, made into Django's DATABASES["default"]."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from settings.env import Environment

# After so long without success the pool counts as empty, and the next who asks makes it connect at once: its own pauses
# between attempts double up to minutes, and a server that is back would go unnoticed for as long.
POOL_RECONNECT_SECONDS = 2
POOL_RECYCLE_SECONDS = 1800
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
PROBE_THREADS = 2  # at most so many ask the database for a probe, beside gunicorn's own threads
LOOPBACK = ("", "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """The connections of one deployment: of an instance (a pod), and of one process in it."""

    instance_count: int
    processes: int
    usable: int
    total_per_instance: int
    pool_size: int
    max_overflow: int
    min_size: int
    max_size: int

    @property
    def total(self) -> int:
        """What the pools of all instances may open together: each process has at least one connection."""
        return self.instance_count * max(self.total_per_instance, self.processes)

    def to_dict(self) -> dict[str, int]:
        """The plan as EVENTSOURCE["POOL"] and the log have it."""
        return {**asdict(self), "total": self.total}


def pool_plan(
    *,
    max_connections: int,
    instance_count: int = 1,
    processes: int = 1,
    pool_size: int | None = None,
    max_overflow: int | None = None,
    process_capacity: int | None = None,
) -> PoolPlan:
    """Share *max_connections* out: a tenth is kept free for operators, a third of the rest is steady.

    Pools are per process, so an instance's share is divided again by its processes.
    *process_capacity* is what one process can use at all (its threads); None knows no such limit.
    """
    usable = max_connections * 9 // 10
    per_instance = usable // instance_count
    size = pool_size if pool_size is not None else max(2, per_instance // 3)
    overflow = max_overflow if max_overflow is not None else max(0, per_instance - size)
    share = max(1, (size + overflow) // processes)
    return PoolPlan(
        instance_count=instance_count,
        processes=processes,
        usable=usable,
        total_per_instance=size + overflow,
        pool_size=size,
        max_overflow=overflow,
        min_size=1,
        max_size=min(share, process_capacity) if process_capacity else share,
    )


def plan_from(env: Environment) -> PoolPlan:
    """Return the plan for this deployment's environment."""
    return pool_plan(
        max_connections=env.max_db_connections,
        instance_count=env.instance_count,
        processes=env.web_concurrency,
        pool_size=env.db_pool_size,
        max_overflow=env.db_max_overflow,
        process_capacity=env.web_threads + PROBE_THREADS,
    )


def database(url: str, env: Environment, *, pooled: bool = True) -> dict[str, Any]:
    """Return DATABASES["default"] for *url*, which may carry a driver (postgresql+asyncpg://)."""
    config: dict[str, Any] = dict(parse(url))
    config |= {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "ATOMIC_REQUESTS": False}
    given = config.get("OPTIONS", {})
    options: dict[str, Any] = {
        "application_name": env.service_name,
        "connect_timeout": 10,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **tls_options(config["HOST"] or given.get("host", ""), env),
        **given,
    }
    if env.db_pooler == "transaction":
        # What a session keeps (a cursor between two transactions, too) belongs to another client a moment later.
        config["DISABLE_SERVER_SIDE_CURSORS"] = True
    else:
        options["options"] = f"{session_options()} {given.get('options', '')}".strip()
    if pooled:
        options["pool"] = pool_options(plan_from(env), env.db_pool_timeout_seconds)
    return {**config, "OPTIONS": options}


def parse(url: str) -> dj_database_url.DBConfig:
    without_driver = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url)
    if not re.match(r"^postgres(ql)?://", without_driver):
        raise ImproperlyConfigured(
            f"DATABASE_URL starts with {url.split(':', 1)[0]!r}: only PostgreSQL is supported, "
            "as in postgresql://user:password@host:5432/name."
        )
    try:
        config = dj_database_url.parse(without_driver)
    except dj_database_url.ParseError:  # neither its words nor the URL are shown: a password is in there
        raise ImproperlyConfigured(
            "DATABASE_URL is set, but it is no URL: write it as postgresql://user:password@host:5432/name, with a port "
            "from 0 to 65535, brackets around an IPv6 address, and what is special in a password quoted (%40 for @)."
        ) from None
    if not config["NAME"]:
        raise ImproperlyConfigured(
            "DATABASE_URL names no database: add one at its end, as in …@host:5432/name."
        )
    return config


def session_options() -> str:
    """What every session starts with: no statement, no wait for a lock and no idle transaction lasts for ever.

    A pooler in transaction mode refuses these; there the role has them (ALTER ROLE, docs/existing-project.md).
    """
    limits = {
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
    }
    return " ".join(f"-c {name}={milliseconds}" for name, milliseconds in limits.items())


def tls_options(host: str, env: Environment) -> dict[str, str]:
    """Return sslmode and sslrootcert: `require` for a remote host unless DB_SSL_MODE says otherwise."""
    local = host in LOOPBACK or host.startswith("/")
    mode = env.db_ssl_mode or (None if local else "require")
    options = {"sslmode": mode, "sslrootcert": env.db_ssl_root_cert}
    return {name: value for name, value in options.items() if value is not None}


def pool_options(plan: PoolPlan, timeout_seconds: float) -> dict[str, Any]:
    # No "check" here: Django 5.2 adds its own (CONN_HEALTH_CHECKS) and refuses a second one.
    return {
        "min_size": plan.min_size,
        "max_size": plan.max_size,
        "timeout": timeout_seconds,
        "reconnect_timeout": POOL_RECONNECT_SECONDS,
        "max_lifetime": POOL_RECYCLE_SECONDS,
    }
