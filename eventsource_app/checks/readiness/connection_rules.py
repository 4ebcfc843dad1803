"""The checklist's part about connections to the database: how many, how safe, for how long, as whom."""

from collections.abc import Callable, Mapping
from typing import Final

from eventsource_app.checks.readiness.deployment import Database, Deployment
from eventsource_app.checks.readiness.item import INFRASTRUCTURE, Answer, Rule, ask, fail, ok, warn
from eventsource_app.checks.readiness.server import ServerFacts

WARN_SHARE: Final = 0.8
LOCAL_HOSTS: Final = ("", "localhost", "127.0.0.1", "::1")
LOST_BEHIND_A_POOLER: Final = (
    "workers poll instead of hearing of events at once, statements are not prepared, and the role, not the session, has "
    "the timeouts"
)


def connections(seen: Database) -> Answer:
    return connections_fit(seen.server, seen.deployment.options.get("POOL") or {})


def connections_fit(server: ServerFacts, plan: Mapping[str, int]) -> Answer:
    """The tutorial's formula over all instances, against the server's limit."""
    limit, reserved = server.max_connections, server.reserved_connections
    if not plan:
        return ask(
            f"The server allows {limit} connections ({reserved} of them reserved for superusers); EVENTSOURCE['POOL'] does not "
            "say what all instances together may open: compare it by hand."
        )
    total = plan["total"]
    arithmetic = (
        f"{_counted(plan['instance_count'], 'instance')} × {total // plan['instance_count']} connections = {total}, "
        f"{total / limit:.0%} of max_connections {limit} ({reserved} reserved for superusers, "
        f"{server.connections_in_use} open now)"
    )
    if total > limit:
        return fail(
            f"{arithmetic}: raise max_connections above {total}, lower INSTANCE_COUNT, DB_POOL_SIZE or MAX_DB_CONNECTIONS, "
            "or put PgBouncer between."
        )
    if total >= WARN_SHARE * limit or total > limit - reserved:
        return warn(
            f"{arithmetic}: leave a fifth free for operators, backups and what connects beside the pools; "
            "lower MAX_DB_CONNECTIONS or raise max_connections."
        )
    return ok(f"{arithmetic}.")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def pool(deployment: Deployment) -> Answer:
    size = deployment.database_options.get("pool")
    if not size:
        return warn("DATABASES has no pool in OPTIONS, so each request connects anew: add one.")
    if not deployment.database.get("CONN_HEALTH_CHECKS"):
        return warn(
            "CONN_HEALTH_CHECKS is off, so the first requests after a restart of the database fail: turn it on."
        )
    limits = size if isinstance(size, Mapping) else {}
    shown = ", ".join(f"{name} {value}" for name, value in limits.items()) or "psycopg's defaults"
    return ok(f"Each process has a pool ({shown}), whose connections are checked before use.")


def pooler(deployment: Deployment) -> Answer:
    mode = deployment.options.get("POOLER")
    if mode is None:
        return ok("No pooler is declared (DB_POOLER), so sessions keep their settings, cursors and LISTEN.")
    return ask(f"Behind a pooler in {mode} mode {LOST_BEHIND_A_POOLER}: is that what you want?")


def tls(seen: Database) -> Answer:
    options = seen.deployment.database_options
    host = seen.deployment.database.get("HOST") or options.get("host", "")
    mode, version = options.get("sslmode", "prefer"), seen.server.tls_version
    remedy = "set DB_SSL_MODE=verify-full with DB_SSL_ROOT_CERT"
    if not version and (host in LOCAL_HOSTS or host.startswith("/")):
        return ok(f"No TLS, and none is needed: the database is on this host ({host or 'a socket'}).")
    if not version:
        return fail(f"The connection to {host} is in plain text (sslmode {mode}): {remedy}.")
    if mode != "verify-full":
        what = "the host's name" if mode == "verify-ca" else "the server's certificate"
        return warn(f"{version} to {host} with sslmode {mode}, which does not verify {what}: {remedy}.")
    return ok(f"{version} to {host}, with certificate and name verified (verify-full).")


def limit(name: str, what: str, default: str) -> Callable[[Database], Answer]:
    """Make the rule for one timeout, as the session has it, wherever it comes from."""

    def answer(seen: Database) -> Answer:
        milliseconds = getattr(seen.server, name)
        if milliseconds:
            return ok(f"{name} is {milliseconds / 1000:g} s.")
        return fail(
            f"{name} is 0, so {what} may last for ever: set it in the connection's options, or "
            f"ALTER ROLE {seen.server.role} SET {name} = '{default}'."
        )

    return answer


def role(seen: Database) -> Answer:
    server = seen.server
    if server.is_superuser:
        return fail(
            f"Role {server.role} is a superuser, whom no privilege binds: use a role of its own "
            "(docs/guarantees.md has its rights)."
        )
    if server.has_other_powers:
        return warn(
            f"Role {server.role} may create roles or databases, replicate or bypass row security: take that away."
        )
    return ok(f"Role {server.role} is no superuser.")


def primary(seen: Database) -> Answer:
    if seen.server.is_standby:
        return fail(
            "The server is a standby, where events can neither be appended nor read safely: connect to the primary."
        )
    return ok(f"PostgreSQL {seen.server.version} is a primary.")


SETTINGS_RULES: Final = (
    Rule("pool", INFRASTRUCTURE, "Is there a connection pool, checked before use?", pool),
    Rule("pooler", INFRASTRUCTURE, "Is anything lost to a pooler in between?", pooler),
)
DATABASE_RULES: Final = (
    Rule("connections", INFRASTRUCTURE, "Do the connections of all instances fit max_connections?", connections),
    Rule("tls", INFRASTRUCTURE, "Is the database's connection encrypted and verified?", tls),
    Rule("statement_timeout", INFRASTRUCTURE, "Does every statement end?",
         limit("statement_timeout", "a statement", "30s")),
    Rule("lock_timeout", INFRASTRUCTURE, "Does every wait for a lock end?",
         limit("lock_timeout", "a wait for a lock", "10s")),
    Rule("idle_in_transaction_timeout", INFRASTRUCTURE, "Does every idle transaction end?",
         limit("idle_in_transaction_session_timeout", "an idle transaction", "60s")),
    Rule("role", INFRASTRUCTURE, "Has the application's role only the rights it needs?", role),
    Rule("primary", INFRASTRUCTURE, "Is the application connected to the primary?", primary),
)  # fmt: skip
