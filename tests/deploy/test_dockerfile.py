"""The image: only what it needs, checked by hash, nobody's own, and stopped by signals."""

import re
from pathlib import Path

from django.conf import settings

from settings.local_postgres import PROJECT
from tests.deploy.files import DEPLOY, dockerfile, image_variables, instructions, last_stage

OF_PYTHON_AND_DJANGO = {
    "PATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONFAULTHANDLER",
    "DJANGO_SETTINGS_MODULE",
}


def copied() -> dict[str, str]:
    """What is copied from the project: source -> destination."""
    pairs = [copy.words for copy in instructions("COPY") if not copy.text.startswith("--from")]
    return dict(pairs)


def test_every_instruction_is_one_line_that_the_tests_can_read() -> None:
    assert {found.name for found in dockerfile()} <= {
        "ARG", "FROM", "ENV", "RUN", "COPY", "WORKDIR", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "CMD",
    }  # fmt: skip


def test_it_holds_the_whole_project_and_nothing_else() -> None:
    apps = {name.partition(".")[0] for name in settings.INSTALLED_APPS}
    ours = {name for name in (*apps, "settings") if (PROJECT / name).is_dir()}
    assert set(copied()) == {"requirements.txt", "manage.py", *ours}
    assert all((PROJECT / source).exists() for source in copied())
    assert all(copy.text.startswith("--from=build ") for copy in instructions("COPY", last_stage()))


def test_the_builder_is_sent_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_requirements_are_checked_by_hash() -> None:
    installs = [run.text for run in instructions("RUN") if "pip install" in run.text]
    assert installs
    assert all("--require-hashes" in text for text in installs)


def test_it_is_small_and_of_a_python_that_we_support() -> None:
    (argument,) = instructions("ARG")
    version = argument.text.removeprefix("PYTHON_VERSION=")
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"Programming Language :: Python :: {version}"' in text
    assert len({found.text.split()[0] for found in instructions("FROM")}) == 1
    assert all(found.text.startswith("python:${PYTHON_VERSION}-slim") for found in instructions("FROM"))


def test_it_runs_as_nobody_in_particular() -> None:
    (user,) = instructions("USER", last_stage())
    uid, _, gid = user.text.partition(":")
    assert int(uid) >= 10_000
    assert uid == gid
    assert not any("--chown" in copy.text for copy in instructions("COPY"))


def test_signals_reach_the_program() -> None:
    (command,) = instructions("CMD", last_stage())
    assert command.text.startswith("["), "the shell form puts a shell between the signal and the program"
    (signal,) = instructions("STOPSIGNAL", last_stage())
    assert signal.text == "SIGTERM"


def test_it_keeps_no_secret() -> None:
    assert set(image_variables()) == OF_PYTHON_AND_DJANGO | {"BIND_ADDRESS", "PORT"}
    assert image_variables()["DJANGO_SETTINGS_MODULE"] == "settings.production"
    named = [found.text for found in dockerfile() if re.search("SECRET_KEY|DATABASE_URL", found.text)]
    assert len(named) == 1
    assert "collectstatic" in named[0]


def test_static_files_go_where_the_settings_look() -> None:
    assert Path(settings.STATIC_ROOT).relative_to(PROJECT) == Path("staticfiles")
    assert {found.text for found in instructions("WORKDIR")} == {"/app"}
