"""Why the database does not answer, in one sentence with what to do."""

from typing import Final

import psycopg

ADVICE: Final = (
    ("certificate verify failed", "the certificate is signed by no authority in DB_SSL_ROOT_CERT (sslrootcert)"),
    ("does not match host name", "the certificate is for another host: connect by the name in the certificate"),
    ("server does not support SSL", "turn TLS on in the server, or set DB_SSL_MODE=disable where the network is trusted"),
    ("root certificate file", "name the authority's certificate in DB_SSL_ROOT_CERT"),
    ("no pg_hba.conf entry", "let this host and role in with pg_hba.conf"),
    ("unsupported startup parameter", "a pooler stands between: set DB_POOLER=transaction"),
    ("authentication failed", "correct user and password in DATABASE_URL"),
    ("could not translate host name", "correct the host in DATABASE_URL"),
    ("failed to resolve host", "correct the host in DATABASE_URL"),
    ("does not exist", "correct DATABASE_URL, or create what it names"),
    ("too many", "lower INSTANCE_COUNT or DB_POOL_SIZE, or raise the server's max_connections"),
    ("Connection refused", "start the server, or correct host and port in DATABASE_URL"),
)  # fmt: skip


# SQLSTATE classes of a refused connection: connection, authorization, no such database, resources, shutting down.
REFUSED: Final = ("08", "28", "3D", "53", "57P")


def is_away(error: BaseException) -> bool:
    """Say whether there was no connection, or none any more: then the driver knows no SQLSTATE, or one of refusal."""
    cause = error.__cause__ if isinstance(error.__cause__, psycopg.Error) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    return state is None or state.startswith(REFUSED)


def why_away(error: BaseException) -> str:
    """Return the driver's first telling line and advice for it; the line names host and port, never the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if any(sign in line for sign, _ in ADVICE)), None)
    reason = (said or (lines[0] if lines else type(error).__name__)).rstrip(".")
    advice = next((advice for sign, advice in ADVICE if sign in reason), "see the server's log")
    return f"The database does not answer ({reason}): {advice}."
