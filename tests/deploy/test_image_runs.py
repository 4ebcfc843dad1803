"""The image's programs do what the manifests say: migrate, answer the probes, write nowhere, stop on SIGTERM."""

import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from settings import test as test_settings
from settings.postgres_binaries import server_user
from tests.acceptance.processes import living_in_session
from tests.deploy.files import BASE, config, container, given, manifest, pod
from tests.deploy.image import Image
from tests.waiting import wait_for

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
PATIENCE_SECONDS = 90.0
A_PODS_OWN_ADDRESS = "10.1.2.3"

Start = Callable[..., "Program"]


class Program:
    """A container's process, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ends_with(self, status: int) -> None:
        assert self.process.wait(PATIENCE_SECONDS) == status, self.text()

    def wait_for_probe(self, url: str) -> None:
        wait_for(
            lambda: status_of(url) == 200 or self.process.poll() is not None, PATIENCE_SECONDS, self.text()
        )
        assert self.process.poll() is None, self.text()


@pytest.fixture
def image() -> Iterator[Image]:
    root, user = Path(f"/var/tmp/eventsource-image-{os.getpid()}"), server_user()  # noqa: S108 - nobody must reach it
    root.mkdir(mode=0o755)
    try:
        yield Image(root, user)
    finally:
        shutil.rmtree(root)


@pytest.fixture
def empty_database() -> Iterator[str]:
    """The URL of a database without tables on the run's server."""
    name, server = f"image_{os.getpid()}", test_settings.TEST_DATABASE_URL
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def start(image: Image, empty_database: str, tmp_path: Path) -> Iterator[Start]:
    """Start a container of the manifests by its command and variables; only address and ports are this machine's."""
    fill_secret(image, empty_database)
    with ExitStack() as afterwards:

        def begin(found: dict[str, Any], port: int = 0, **variables: str) -> Program:
            declared = str(container("Deployment", "worker")["ports"][0]["containerPort"])
            command = [str(port) if word == declared else word for word in found["command"]]
            here = {"BIND_ADDRESS": "127.0.0.1"}
            log = tmp_path / f"{found['name']}-{len(list(tmp_path.iterdir()))}.log"
            with log.open("wb") as output:
                process = image.start(command, {**config(BASE), **given(found), **here, **variables}, output)
            afterwards.callback(kill, process)
            return Program(process, log)

        yield begin


def fill_secret(image: Image, url: str) -> None:
    """The secret's files as the kubelet mounts them: readable for the group, writable for nobody."""
    mount = Path(image.here(config(BASE)["DB_SSL_ROOT_CERT"])).parent
    mount.mkdir(parents=True)
    for name, value in {
        "database-url": url,
        "secret-key": "0123456789abcdef" * 4,
        "database-ca.crt": "",
    }.items():
        (mount / name).write_text(value, encoding="utf-8")
        (mount / name).chmod(0o440)
        if image.user.switch:
            shutil.chown(mount / name, group=image.user.gid)


def kill(process: subprocess.Popen[bytes]) -> None:
    for pid in living_in_session(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()


def answer(url: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(  # noqa: S310 - our own address
        url, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=10) as found:
            return int(found.status), bytes(found.read())
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any) -> None:
        return None


def status_of(url: str) -> int | None:
    try:
        return answer(url, Host=A_PODS_OWN_ADDRESS)[0]
    except OSError:
        return None


def volumes() -> list[str]:
    """Where the pods can write: their empty volumes, the same in all of them."""
    places = set()
    for kind, name in (("Deployment", "web"), ("Deployment", "worker"), ("Job", "migrate")):
        empty = {volume["name"] for volume in pod(manifest(kind, name))["volumes"] if "emptyDir" in volume}
        mounts = container(kind, name)["volumeMounts"]
        places.add(tuple(mount["mountPath"] for mount in mounts if mount["name"] in empty))
    (same,) = places
    return list(same)


def test_the_programs_of_the_image_do_what_the_manifests_say(
    image: Image, start: Start, port: int, another_port: int
) -> None:
    image.build()
    image.seal(volumes())
    migrate, web, worker = (
        container("Job", "migrate"),
        container("Deployment", "web"),
        container("Deployment", "worker"),
    )
    (migrated,) = pod(manifest("Deployment", "worker"))["initContainers"]

    start(migrated).ends_with(1)
    start(migrate).ends_with(0)
    start(migrated).ends_with(0)

    programs = {
        "web": (start(web, PORT=str(port)), port, web),
        "worker": (start(worker, another_port), another_port, worker),
    }
    for program, its_port, found in programs.values():
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            program.wait_for_probe(f"http://127.0.0.1:{its_port}{found[probe]['httpGet']['path']}")
    wait_for(lambda: status_of(f"http://127.0.0.1:{port}/health") == 200, what="a healthy whole")
    check_what_the_ingress_reaches(port)

    for name, (program, _, _) in programs.items():
        program.process.send_signal(signal.SIGTERM)
        seconds = pod(manifest("Deployment", name))["terminationGracePeriodSeconds"]
        assert program.process.wait(seconds) == 0, program.text()
        assert living_in_session(program.process.pid) == []
        assert "Read-only file system" not in program.text()


def check_what_the_ingress_reaches(port: int) -> None:
    host = config(BASE)["ALLOWED_HOSTS"]
    site, behind_tls = f"http://127.0.0.1:{port}", {"Host": host, "X_Forwarded_Proto": "https"}
    assert answer(f"{site}/static/admin/css/base.css", **behind_tls)[0] == 200
    assert answer(f"{site}/orders", **behind_tls)[0] in (200, 401)
    assert answer(f"{site}/orders", Host=host)[0] == 301, "plain HTTP is sent to HTTPS"
    assert answer(f"{site}/orders", Host="elsewhere.example.org", X_Forwarded_Proto="https")[0] == 400
