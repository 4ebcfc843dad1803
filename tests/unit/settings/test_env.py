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
    ("content", "sentence"),
    [
        (None, "which cannot be read (No such file or directory): correct the path or set SECRET_KEY."),
        (b"\n", "which is empty: write the value into it or set SECRET_KEY."),
        (b"\xff\xfe", "which cannot be read (it is not UTF-8 text)"),
    ],
)
def test_a_secrets_file_that_holds_none_stops_the_start(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)

    with pytest.raises(ImproperlyConfigured) as raised:
        read_environment({"SECRET_KEY_FILE": str(secret)})

    assert f"SECRET_KEY_FILE names {str(secret)!r}, {sentence}" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("X-Forwarded-Proto: https", ("HTTP_X_FORWARDED_PROTO", "https")),
        ("HTTP_X_SCHEME,https", ("HTTP_X_SCHEME", "https")),
        ("none", None),
    ],
)
def test_the_proxys_header(text: str, pair: tuple[str, str] | None) -> None:
    assert read_environment({"SECURE_PROXY_SSL_HEADER": text}).secure_proxy_ssl_header == pair


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
        (
            {"SHUTDOWN_TIMEOUT": "nan"},
            "SHUTDOWN_TIMEOUT is 'nan': it must be a number of seconds above 0 and below 86400.",
        ),
        (
            {"DRAIN_TIMEOUT": "soon"},
            "DRAIN_TIMEOUT is 'soon': it must be a number of seconds above 0 and below 86400.",
        ),
        (
            {"API_WAIT_SECONDS": "4000"},
            "API_WAIT_SECONDS is '4000': it must be a number of seconds above 0 and below 3600.",
        ),
        ({"DEBUG": "maybe"}, "DEBUG is 'maybe': it must be true or false."),
        ({"DB_SSL_MODE": "yes"}, "DB_SSL_MODE is 'yes': it must be one of disable, allow"),
        ({"SECRET_KEY_FILE": "/nowhere/key"}, "SECRET_KEY_FILE names '/nowhere/key', which cannot be read"),
        ({"CSRF_TRUSTED_ORIGINS": "shop.example"}, "it must be origins with their scheme"),
        ({"OTLP_ENDPOINT": "collector"}, "it must be host:4317 for gRPC, or http://host:4318"),
        ({"OTLP_ENDPOINT": "http://collector:x"}, "it must be host:4317 for gRPC"),
        ({"OTLP_ENDPOINT": "grpc://collector:4317"}, "it must be host:4317 for gRPC"),
        ({"OTLP_ENDPOINT": "http://a b:4318"}, "it must be host:4317 for gRPC"),
        ({"SECURE_PROXY_SSL_HEADER": "yes"}, "it must be a header and its value"),
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


@pytest.mark.parametrize(
    ("address", "bind"),
    [("10.0.0.7", "10.0.0.7:8000"), ("::1", "[::1]:8000"), ("[::1]", "[::1]:8000"), ("web", "web:8000")],
)
def test_an_ipv6_address_is_taken_with_brackets_and_without(address: str, bind: str) -> None:
    env = read_environment({"BIND_ADDRESS": address})

    assert env.bind == bind
    assert "[" not in env.bind_address, "as a socket wants it"
