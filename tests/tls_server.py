"""A PostgreSQL with TLS on loopback, and the authorities and certificates for it, made by openssl."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from settings.postgres_binaries import LocalPostgresError, server_user
from settings.postgres_server import Server
from settings.throwaway_postgres import FAST

NAME = "localhost"  # what the server's certificate says; 127.0.0.1 is another name for it


class NoTlsError(Exception):
    """TLS cannot be tried here; the message is one sentence that says what is missing."""


@dataclass(frozen=True, slots=True)
class TlsServer:
    port: int
    authority: Path
    stranger: Path  # an authority that signed nothing here

    def url(self, host: str = NAME) -> str:
        return f"postgresql://postgres@{host}:{self.port}/postgres"


@contextmanager
def tls_server(port: int) -> Iterator[TlsServer]:
    """Run it for the length of the block; raises NoTlsError."""
    if shutil.which("openssl") is None:
        raise NoTlsError("openssl is not on PATH, so no certificate can be made.")
    home = Path(mkdtemp(prefix="eventsource-tls-", dir="/var/tmp"))  # short, and `nobody` may enter it
    home.chmod(0o755)
    server = Server(home / "server", home / "server", server_user(), (*FAST, *_listening(home, port)))
    server.make_folders()
    try:
        authority, stranger = _authority(home, "authority"), _authority(home, "stranger")
        _certificate(home, authority)
        for name in ("server.key", "server.crt"):
            shutil.chown(home / name, server.user.uid, server.user.gid)
        _start(server)
        yield TlsServer(port, authority, stranger)
    finally:
        server.stop("immediate")
        shutil.rmtree(home)


def _listening(home: Path, port: int) -> tuple[str, ...]:
    files = (f"ssl_cert_file={home}/server.crt", f"ssl_key_file={home}/server.key")
    return ("listen_addresses=127.0.0.1,127.0.0.2", f"port={port}", "ssl=on", *files)


def _start(server: Server) -> None:
    try:
        server.ensure_running()
    except LocalPostgresError as error:
        if "not supported by this build" in str(error):
            raise NoTlsError(
                "the PostgreSQL that was found is built without TLS; Debian's package has it."
            ) from error
        raise


def _authority(home: Path, name: str) -> Path:
    _openssl(home, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")  # fmt: skip
    return home / f"{name}.crt"


def _certificate(home: Path, authority: Path) -> None:
    _openssl(home, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={NAME}",
             "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", "server.key", "-out", "server.csr")  # fmt: skip
    _openssl(home, "x509", "-req", "-in", "server.csr", "-CA", authority.name, "-CAkey", f"{authority.stem}.key",
             "-CAcreateserial", "-copy_extensions", "copy", "-days", "2", "-out", "server.crt")  # fmt: skip
    (home / "server.key").chmod(0o600)


def _openssl(home: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True)
