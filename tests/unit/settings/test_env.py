"""settings.env: typed values, files for secrets, and sentences for mistakes."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from settings.env import read_environment


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    env = read_environment({})

    assert (env.port, env.instance_count, env.max_db_connections) == (8000, 1, 100)
    assert (env.shutdown_timeout_seconds, env.drain_timeout_seconds) == (60, 30)
    assert (env.log_level, env.service_name, env.service_version) == ("INFO", "eventsource-app", "1.0.0")
    assert (env.database_url, env.secret_key, env.debug, env.otlp_endpoint) == (None, None, None, None)


def test_an_empty_variable_is_unset() -> None:
    assert read_environment({"PORT": "", "DATABASE_URL": " "}) == read_environment({})


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from the file\n")

    assert read_environment({"SECRET_KEY_FILE": str(secret)}).secret_key == "from the file"
    assert read_environment({"SECRET_KEY_FILE": str(secret), "SECRET_KEY": "set"}).secret_key == "set"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PORT": "0"}, "PORT is '0': it must be a whole number from 1 to 65535."),
        ({"PORT": "66000"}, "PORT is '66000': it must be a whole number from 1 to 65535."),
        ({"INSTANCE_COUNT": "two"}, "INSTANCE_COUNT is 'two': it must be a whole number of at least 1."),
        (
            {"MAX_DB_CONNECTIONS": "-1"},
            "MAX_DB_CONNECTIONS is '-1': it must be a whole number of at least 1.",
        ),
        ({"SHUTDOWN_TIMEOUT": "nan"}, "SHUTDOWN_TIMEOUT is 'nan': it must be a number of seconds above 0."),
        ({"DRAIN_TIMEOUT": "soon"}, "DRAIN_TIMEOUT is 'soon': it must be a number of seconds above 0."),
        ({"DEBUG": "maybe"}, "DEBUG is 'maybe': it must be true or false."),
        ({"DB_SSL_MODE": "yes"}, "DB_SSL_MODE is 'yes': it must be one of disable, allow"),
        ({"SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE names '/nowhere/key', which cannot be read"),
        ({"PARTITION_ID": "1"}, "set both or neither"),
        ({"PARTITION_ID": "4", "NUM_PARTITIONS": "4"}, "it must be from 0 to 3"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence_that_holds_the_value(
    variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        read_environment(variables)

    assert sentence in str(raised.value)


def test_lists_and_flags() -> None:
    env = read_environment({"ALLOWED_HOSTS": "a.example, b.example,", "DEBUG": "False"})

    assert env.allowed_hosts == ("a.example", "b.example")
    assert env.debug is False
