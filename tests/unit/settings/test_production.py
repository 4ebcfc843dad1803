"""settings.production: what is missing or weak stops the start with a sentence."""

import socket
import subprocess
import sys

import pytest

from settings.env import for_child_process
from settings.local_postgres import PROJECT

COMPLETE = {
    "DJANGO_SETTINGS_MODULE": "settings.production",
    "DATABASE_URL": "postgresql://u@db.example/shop",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGH",
    "ALLOWED_HOSTS": "shop.example",
    "DEBUG": None,
    "TEST_DATABASE_URL": None,
}


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load(**changes: str | None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from django.conf import settings; print(settings.DEBUG)"]
    environment = for_child_process(**{**COMPLETE, **changes})
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def test_a_complete_environment_starts_without_debug() -> None:
    assert load().stdout == "False\n"


def test_the_deployment_checks_find_nothing_and_need_no_database() -> None:
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "INFO"]
    environment = for_child_process(**{**COMPLETE, "DATABASE_URL": "postgresql://u@db.invalid/shop"})
    result = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    assert "no issues" in result.stdout


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is weak (5 characters"),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY is weak (60 characters, 1 different ones)"),
        ({"SECRET_KEY": "django-insecure-" + "0123456789" * 5}, "begins with 'django-insecure-'"),
        ({"ALLOWED_HOSTS": None}, "ALLOWED_HOSTS is not set"),
        ({"DATABASE_URL": None}, "DATABASE_URL is not set"),
        ({"DEBUG": "true"}, "DEBUG is true under settings.production"),
    ],
)
def test_anything_missing_stops_the_start(changes: dict[str, str | None], sentence: str) -> None:
    result = load(**changes)

    assert result.returncode != 0
    assert sentence in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SECRET_KEY", "abcd", "SECRET_KEY is weak (4 characters, 4 different ones)"),
        ("DATABASE_URL", "mysql://h/shop", "DATABASE_URL starts with 'mysql'"),
    ],
)
def test_gunicorn_says_it_once_and_starts_no_worker(
    name: str, value: str, sentence: str, unused_port: int
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--config", "python:settings.gunicorn"],
        cwd=PROJECT, env=for_child_process(**{**COMPLETE, name: value, "PORT": str(unused_port)}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (said,) = result.stderr.strip().splitlines()
    assert said.startswith(f"Error: {sentence}")
    assert (result.returncode, result.stdout) == (1, "")
