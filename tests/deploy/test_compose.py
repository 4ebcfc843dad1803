"""The compose file runs the same image by the same commands, and agrees with the code as the manifests do."""

import pytest

from settings import gunicorn
from settings.env import read_environment
from settings.local_postgres import PROJECT
from tests.deploy.files import (
    DEPLOY,
    SECRETS,
    compose,
    container,
    documents,
    image_variables,
    seconds,
    variables_of_the_code,
)

OURS = ("migrate", "web", "worker")


def test_the_commands_are_the_manifests() -> None:
    services = compose()["services"]
    assert "command" not in services["web"], "the image's own"
    assert services["worker"]["command"] == container("Deployment", "worker")["command"]
    assert services["migrate"]["command"] == container("Job", "migrate")["command"]


@pytest.mark.parametrize("name", OURS)
def test_each_is_read_only_and_without_rights(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - a folder of the container
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", OURS)
def test_its_variables_are_those_of_the_code(name: str) -> None:
    service = compose()["services"][name]
    variables = service["environment"]
    assert set(variables) <= variables_of_the_code()
    env = read_environment({**image_variables(), **variables, **SECRETS})
    assert env.instance_count == len(OURS) - 1
    secrets = {f"/run/secrets/{secret}" for secret in service["secrets"]}
    assert {value for key, value in variables.items() if key.endswith("_FILE")} == secrets


def test_there_is_time_to_stop() -> None:
    services = compose()["services"]
    assert seconds(services["web"]["stop_grace_period"]) > gunicorn.graceful_timeout
    env = read_environment({**services["worker"]["environment"], **SECRETS})
    assert seconds(services["worker"]["stop_grace_period"]) > env.shutdown_timeout_seconds + 10


@pytest.mark.parametrize(("name", "port"), [("web", 8000), ("worker", 8001)])
def test_health_is_asked_where_it_is_answered(name: str, port: int) -> None:
    assert f"http://127.0.0.1:{port}/health/" in compose()["services"][name]["healthcheck"]["test"][-1]
    assert port in {
        int(image_variables()["PORT"]),
        container("Deployment", "worker")["ports"][0]["containerPort"],
    }


def test_only_this_machine_reaches_it() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_secrets_are_made_by_the_script_and_ignored_by_git() -> None:
    script = (DEPLOY / "make_secrets.sh").read_text(encoding="utf-8")
    for name, secret in compose()["secrets"].items():
        assert secret["file"] == f"./secrets/{name}"
        assert f'"$folder/{name}"' in script
    assert "deploy/secrets/" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_collector_listens_where_spans_are_sent() -> None:
    (collector,) = documents(DEPLOY / "collector.yaml")
    endpoint = compose()["services"]["web"]["environment"]["OTLP_ENDPOINT"]
    http = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert endpoint == f"http://collector:{http.rpartition(':')[2]}"
    pipeline = collector["service"]["pipelines"]["traces"]
    for part in ("receivers", "processors", "exporters"):
        assert set(pipeline[part]) == set(collector[part])
