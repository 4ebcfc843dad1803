"""The image without a container engine: the Dockerfile's own lines, carried out in a folder, and its programs run there.

``/app`` and ``/venv`` become folders below a root. What runs there sees only the image's variables and its own, belongs
to an unprivileged user, and meets a read-only file system: writing anywhere but in the volumes fails as it would there.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

from settings.local_postgres import PROJECT
from settings.postgres_binaries import ServerUser
from tests.deploy.files import image_variables, instructions

PINNED = re.compile(r"^([a-z0-9-]+)==", re.MULTILINE)
LEFT_OUT = re.compile(r"pip uninstall --yes (\S+)")
GUARD = '''
"""Makes the file system read-only for this interpreter, but for {volumes}."""
import errno, os, sys

VOLUMES = {volumes}
CHANGES = {{"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.utime"}}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def guard(event, arguments):
    if event != "open" and event not in CHANGES:
        return
    path = arguments[0]
    if isinstance(path, int) or path is None or (event == "open" and not (arguments[2] or 0) & WRITING):
        return
    place = os.path.abspath(os.fsdecode(path))
    if not place.startswith(VOLUMES):
        raise OSError(errno.EROFS, "Read-only file system", place)


sys.addaudithook(guard)
'''


@dataclass(frozen=True, slots=True)
class Image:
    """What ``build`` has made in ``root``."""

    root: Path
    user: ServerUser

    def here(self, text: str) -> str:
        """Return a text of deploy/ with the image's and the secrets' folders as they are called here."""
        for folder in ("/venv", "/app", "/run/secrets"):
            text = re.sub(rf"(?<![\w/.-]){folder}(?=[/:\s]|$)", f"{self.root}{folder}", text)
        return text

    def build(self) -> None:
        """Carry out the first stage: requirements without development's, the project, the static files."""
        self._install()
        for copy in instructions("COPY", stage=0):
            source, destination = copy.words
            target = Path(self.here(destination)) / (source if destination.endswith("/") else "")
            target.parent.mkdir(parents=True, exist_ok=True)
            if (PROJECT / source).is_dir():
                shutil.copytree(PROJECT / source, target)
            else:
                shutil.copy(PROJECT / source, target)
        (collect,) = [run for run in instructions("RUN", stage=0) if "collectstatic" in run.text]
        environment = {**self.environment({}), "DJANGO_SETTINGS_MODULE": "settings.production"}
        subprocess.run(["sh", "-c", collect.text], cwd=self.root / "app", env=environment, check=True)

    def _install(self) -> None:
        """Stand in for ``pip install``: the files of what requirements.txt pins, from where they are installed."""
        text = " ".join(run.text for run in instructions("RUN", stage=0))
        wanted = set(PINNED.findall((PROJECT / "requirements.txt").read_text(encoding="utf-8")))
        for name in sorted(wanted - set(LEFT_OUT.findall(text))):
            self._copy_distribution(name)
        programs = self.root / "venv" / "bin"
        programs.mkdir()
        (programs / "python").symlink_to(self._interpreter())
        _, _, script = Path(sys.executable).with_name("gunicorn").read_text(encoding="utf-8").partition("\n")
        (programs / "gunicorn").write_text(f"#!{programs / 'python'}\n{script}", encoding="utf-8")
        (programs / "gunicorn").chmod(0o755)

    def _copy_distribution(self, name: str) -> None:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            return  # its marker says that it is not for this Python or system
        for file in found.files or ():
            if ".." not in file.parts:
                target = self.packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(file.locate()), target)  # with its time: bytecode stays valid

    def _interpreter(self) -> Path:
        """Stand in for ``FROM python``: the Python behind this virtual environment, or a copy that can be reached."""
        python = Path(sys.executable).resolve()
        if self.user.can_reach(python.parent):
            return python
        library = Path(sysconfig.get_path("stdlib"))
        copy = self.root / "python"
        left_out = shutil.ignore_patterns("site-packages", "test", "idlelib", "config-*")
        shutil.copytree(library, copy / library.relative_to(sys.base_prefix), ignore=left_out)
        for shared in Path(sys.base_prefix).glob("lib/libpython*.so*"):
            shutil.copy(shared, copy / "lib")
        (copy / "bin").mkdir()
        return Path(shutil.copy(python, copy / "bin"))

    @property
    def packages(self) -> Path:
        return self.root / "venv" / "lib"

    def seal(self, volumes: Sequence[str]) -> None:
        """From here on only ``volumes`` can be written to; /dev stays what it is."""
        places = tuple(f"{volume}/" for volume in (*volumes, "/dev"))
        guard = self.packages / "sitecustomize.py"
        guard.write_text(GUARD.format(volumes=places), encoding="utf-8")

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        merged = {**image_variables(), **variables}
        here = {name: self.here(value) for name, value in merged.items()}
        here["PATH"] = here["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        # Of the base image: its language, and where a copied Python has its library.
        return {
            **here,
            "LANG": "C.UTF-8",
            "LD_LIBRARY_PATH": str(self.root / "python" / "lib"),
            "PYTHONPATH": str(self.packages),
        }

    def start(
        self, command: Sequence[str], variables: Mapping[str, str], output: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Run a command as a container would: in /app, as nobody, with these variables and no others."""
        environment = self.environment(variables)
        program = shutil.which(command[0], path=environment["PATH"])
        assert program, f"{command[0]} is not in the image"
        return subprocess.Popen(
            [program, *command[1:]],
            cwd=self.root / "app",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **self.user.subprocess_arguments,
        )
