"""settings.database: the pool's arithmetic, TLS by default, and the URL's forms."""

from dataclasses import asdict

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from settings.database import database, pool_plan
from settings.env import read_environment

ENV = read_environment({})


def test_the_usual_plan() -> None:
    plan = pool_plan(max_connections=100, instance_count=3)

    assert asdict(plan) == {
        "instance_count": 3,
        "processes": 1,
        "usable": 90,
        "total_per_instance": 30,
        "pool_size": 10,
        "max_overflow": 20,
        "min_size": 1,
        "max_size": 30,
    }


def test_an_instances_share_is_divided_by_its_processes() -> None:
    assert pool_plan(max_connections=100, instance_count=3, processes=4).max_size == 7


def test_a_process_gets_no_more_than_it_can_use() -> None:
    assert pool_plan(max_connections=100, process_capacity=8).max_size == 8


def test_pool_size_and_overflow_can_be_given() -> None:
    plan = pool_plan(max_connections=100, pool_size=5, max_overflow=0)

    assert (plan.pool_size, plan.max_overflow, plan.max_size) == (5, 0, 5)


@pytest.mark.parametrize(
    ("instances", "size", "overflow", "total"),
    [(1, 30, 60, 90), (2, 15, 30, 90), (8, 3, 8, 88), (45, 2, 0, 90), (46, 2, 0, 92), (1000, 2, 0, 2000)],
)
def test_the_tutorials_arithmetic(instances: int, size: int, overflow: int, total: int) -> None:
    plan = pool_plan(max_connections=100, instance_count=instances)

    assert (plan.pool_size, plan.max_overflow, plan.total) == (size, overflow, total)


def test_more_processes_than_connections_get_one_each() -> None:
    plan = pool_plan(max_connections=100, instance_count=30, processes=8)

    assert (plan.total_per_instance, plan.max_size, plan.total) == (3, 1, 240)


def test_only_one_of_the_two_may_be_given() -> None:
    assert pool_plan(max_connections=100, pool_size=80).max_overflow == 10
    assert pool_plan(max_connections=100, pool_size=120).max_overflow == 0
    assert pool_plan(max_connections=100, max_overflow=3).total_per_instance == 33


@given(st.integers(1, 2000), st.integers(1, 200), st.integers(1, 50))
def test_no_plan_is_impossible(max_connections: int, instance_count: int, processes: int) -> None:
    plan = pool_plan(max_connections=max_connections, instance_count=instance_count, processes=processes)

    assert plan.pool_size >= 2
    assert plan.max_overflow >= 0
    assert 1 == plan.min_size <= plan.max_size
    if plan.usable // instance_count >= max(2, processes):
        assert plan.total <= plan.usable


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_a_driver_in_the_url_is_ignored(scheme: str) -> None:
    config = database(f"{scheme}://user:pw@db.example:5433/shop", ENV)

    assert (config["ENGINE"], config["NAME"]) == ("django.db.backends.postgresql", "shop")
    assert (config["HOST"], config["PORT"], config["USER"]) == ("db.example", 5433, "user")


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("db.example", "require"),
        ("localhost", None),
        ("127.0.0.1", None),
        ("[::1]", None),
        ("%2Ftmp%2Fsocket", None),
    ],
)
def test_tls_is_required_of_a_remote_host_only(host: str, mode: str | None) -> None:
    assert database(f"postgresql://user@{host}/shop", ENV)["OPTIONS"].get("sslmode") == mode


def test_a_socket_in_the_query_is_local_too() -> None:
    assert "sslmode" not in database("postgresql://user@/shop?host=/tmp/s", ENV)["OPTIONS"]


def test_the_environment_and_the_url_decide_about_tls() -> None:
    env = read_environment({"DB_SSL_MODE": "verify-full", "DB_SSL_ROOT_CERT": "/ca.pem"})

    assert database("postgresql://u@db.example/shop", env)["OPTIONS"]["sslmode"] == "verify-full"
    assert database("postgresql://u@db.example/shop", env)["OPTIONS"]["sslrootcert"] == "/ca.pem"
    by_url = database("postgresql://u@db.example/shop?sslmode=disable", env)
    assert by_url["OPTIONS"]["sslmode"] == "disable"


def test_the_pool_is_mapped_as_django_5_2_needs_it() -> None:
    config = database("postgresql://u@localhost/shop", ENV)

    assert (config["CONN_MAX_AGE"], config["CONN_HEALTH_CHECKS"]) == (0, True)
    assert config["OPTIONS"]["pool"] == {
        "min_size": 1,
        "max_size": 10,
        "timeout": 30,
        "max_lifetime": 1800,
        "reconnect_timeout": 2,
    }


def test_no_statement_lasts_for_ever() -> None:
    options = database("postgresql://u@localhost/shop?options=-c%20jit%3Doff", ENV)["OPTIONS"]["options"]

    assert "statement_timeout=30000" in options
    assert "lock_timeout=10000" in options
    assert "idle_in_transaction_session_timeout=60000" in options
    assert options.endswith("-c jit=off")


def test_a_pooler_in_transaction_mode_is_asked_for_nothing_that_a_session_keeps() -> None:
    config = database("postgresql://u@localhost/shop", read_environment({"DB_POOLER": "transaction"}))

    assert "options" not in config["OPTIONS"]
    assert config["DISABLE_SERVER_SIDE_CURSORS"] is True


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("mysql://u@h/shop", "only PostgreSQL is supported"), ("postgresql://u@h", "names no database")],
)
def test_another_database_is_refused_with_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=sentence):
        database(url, ENV)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hidden@h:x/shop",
        "postgresql://u:hidden@h:99999/shop",
        "postgresql://u:hidden@[::1/shop",
    ],
)
def test_what_is_no_url_is_refused_with_a_sentence_that_hides_the_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL is set, but .*quoted.*\.$") as refused:
        database(url, ENV)
    assert "hidden" not in str(refused.value)
