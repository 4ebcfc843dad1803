"""Base backups and the archive of the write-ahead log, by the very scripts of ``deploy/postgresql``."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from settings.local_postgres import PROJECT
from settings.postgres_binaries import find_binaries
from settings.postgres_server import SUPERUSER, Server

SCRIPTS = PROJECT / "deploy" / "postgresql"
# Where archiving.conf says that scripts and archive are.
SCRIPTS_THERE, ARCHIVE_THERE = "/opt/eventsource", "/var/lib/eventsource/archive"
SETTING = re.compile(r"^(\w+) = '(.*)'$", re.MULTILINE)


class BackupError(Exception):
    """A script failed; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Backups:
    """Scripts, archive and backups of one server, in folders that the server's user can reach."""

    server: Server

    @property
    def folder(self) -> Path:
        return self.server.home / "backups"

    @property
    def scripts(self) -> Path:
        return self.folder / "scripts"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    def prepare(self) -> Server:
        """Make the folders; return the server with the settings of archiving.conf, only quicker to archive."""
        self.server.make_folders()
        self.archive.mkdir(parents=True)
        shutil.copytree(SCRIPTS, self.scripts)
        for folder in (self.folder, self.archive, self.scripts):
            self.server.user.own(folder)
        # pg_ctl hands the settings to a shell, hence the quotes.
        added = [f"{name}='{value}'" for name, value in {**self._settings(), "archive_timeout": "1"}.items()]
        return replace(self.server, settings=(*self.server.settings, *added))

    def _settings(self) -> dict[str, str]:
        text = (SCRIPTS / "archiving.conf").read_text(encoding="utf-8")
        here = text.replace(SCRIPTS_THERE, str(self.scripts)).replace(ARCHIVE_THERE, str(self.archive))
        return dict(SETTING.findall(here))

    def take(self) -> tuple[Path, str]:
        """Take a base backup of the running server; return its folder, and what the script had to remark."""
        result = self._run("base_backup.sh", str(self.folder))
        return Path(result.stdout.strip()), result.stderr.strip()

    def restore(self, backup: Path, time: str) -> None:
        """Put the backup where the server's data was; starting the server then follows the archive up to ``time``."""
        self._run("restore.sh", str(backup), str(self.archive), str(self.server.cluster), time)

    def _run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        binaries = find_binaries(self.server.user)
        result = subprocess.run(
            [str(self.scripts / script), *arguments],
            cwd=self.folder,
            env={
                "PATH": f"{binaries.folder}{os.pathsep}{os.defpath}",
                "PGHOST": str(self.server.sockets),
                "PGUSER": SUPERUSER,
                "TZ": "UTC",
            },
            capture_output=True,
            text=True,
            check=False,
            **self.server.user.subprocess_arguments,
        )
        if result.returncode != 0:
            raise BackupError(f"{script} ended with status {result.returncode}: {result.stderr.strip()}")
        return result
