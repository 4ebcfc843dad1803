"""TLS to a real PostgreSQL: every mode does what it says, and what is refused is refused with a sentence."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from settings.env import for_child_process
from settings.local_postgres import PROJECT
from tests.tls_server import NoTlsError, TlsServer, tls_server

pytestmark = [pytest.mark.acceptance]
Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    try:
        with tls_server(port) as running:
            yield running
    except NoTlsError as error:
        pytest.skip(f"TLS cannot be tried: {error}")


def manage(
    server: TlsServer, host: str, command: list[str], **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = for_child_process(
        DATABASE_URL=server.url(host),
        TEST_DATABASE_URL=None,
        DJANGO_SETTINGS_MODULE="settings.base",
        **variables,
    )
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def tls_item(server: TlsServer, host: str, **variables: str) -> dict[str, Any]:
    document = json.loads(manage(server, host, ["readiness_report", "--json"], **variables).stdout)
    return next(dict(item) for item in document["items"] if item["id"] == "tls")


@pytest.mark.parametrize(
    ("mode", "host", "verdict"),
    [
        ("require", "localhost", "warn"),
        ("verify-ca", "127.0.0.1", "warn"),
        ("verify-full", "localhost", "ok"),
    ],
)
def test_each_mode_connects_as_far_as_it_verifies(
    server: TlsServer, mode: str, host: str, verdict: str
) -> None:
    item = tls_item(server, host, DB_SSL_MODE=mode, DB_SSL_ROOT_CERT=str(server.authority))

    assert (item["verdict"], item["sentence"][:3]) == (verdict, "TLS")


def test_a_remote_host_is_asked_for_tls_without_being_told(server: TlsServer) -> None:
    item = tls_item(server, "127.0.0.2")

    assert "with sslmode require" in item["sentence"]


def test_without_tls_is_told_apart(server: TlsServer) -> None:
    item = tls_item(server, "127.0.0.2", DB_SSL_MODE="disable")

    assert item["verdict"] == "fail"
    assert "in plain text (sslmode disable)" in item["sentence"]


@pytest.mark.parametrize(
    ("mode", "host", "authority", "sentence"),
    [
        ("verify-full", "localhost", "stranger", "signed by no authority in DB_SSL_ROOT_CERT"),
        ("verify-ca", "localhost", "stranger", "signed by no authority in DB_SSL_ROOT_CERT"),
        ("verify-full", "127.0.0.1", "authority", "connect by the name in the certificate"),
        ("verify-full", "localhost", "nowhere", "name the authority's certificate in DB_SSL_ROOT_CERT"),
    ],
)
def test_what_is_not_trusted_is_refused_with_one_sentence(
    server: TlsServer, mode: str, host: str, authority: str, sentence: str
) -> None:
    certificate = getattr(server, authority, "/nowhere/authority.crt")
    result = manage(server, host, ["migrate"], DB_SSL_MODE=mode, DB_SSL_ROOT_CERT=str(certificate))

    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("manage.py: The database does not answer (")
    assert sentence in line


def test_migrations_run_over_a_verified_connection(server: TlsServer) -> None:
    verified = {"DB_SSL_MODE": "verify-full", "DB_SSL_ROOT_CERT": str(server.authority)}
    result = manage(server, "localhost", ["migrate", "--verbosity", "0"], **verified)

    assert result.returncode == 0, result.stderr
    assert manage(server, "localhost", ["verify_events"], **verified).returncode == 0
