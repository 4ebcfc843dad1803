"""The manifests and the code agree: ports, paths, commands, variables, times, connections."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from django.urls import resolve

from eventsource_app.probes import urls as probe_urls
from settings import gunicorn
from settings.database import plan_from
from settings.urls import api
from tests.deploy.files import (
    BASE,
    KUBERNETES,
    PRODUCTION,
    config,
    container,
    containers,
    documents,
    environment,
    every_container,
    given,
    image_variables,
    instructions,
    last_stage,
    manifest,
    manifests,
    pod,
    replicas,
    variables_of_the_code,
    workloads,
)

WEB, WORKER = ("Deployment", "web"), ("Deployment", "worker")
PORT_NAMES = {"web": "http", "worker": "probes"}
# The tutorial's figures: initial delay, period, timeout, failures.
LIVENESS, READINESS = (30, 10, 5, 3), (10, 5, 3, 2)
# A worker's connections: one for each of the two subscriptions, its reader, what wakes others, and a probe.
OF_A_WORKER = 5
OVERLAYS = pytest.mark.parametrize("folders", [(BASE,), (BASE, PRODUCTION)], ids=["base", "production"])


def probe_port() -> int:
    command = container(*WORKER)["command"]
    return int(command[command.index("--probe-port") + 1])


def port_of(kind: str, name: str) -> int:
    (port,) = container(kind, name)["ports"]
    assert port["name"] == PORT_NAMES[name]
    return int(port["containerPort"])


def test_every_manifest_is_listed() -> None:
    for folder in (BASE, PRODUCTION):
        (kustomization,) = documents(folder / "kustomization.yaml")
        patches = [patch["path"] for patch in kustomization.get("patches", [])]
        listed = {name for name in (*kustomization["resources"], *patches) if not name.startswith("..")}
        assert {path.name for path in folder.glob("*.yaml")} == {*listed, "kustomization.yaml"}


@pytest.mark.parametrize("folder", [BASE, PRODUCTION], ids=lambda path: path.name)
def test_kustomize_can_build_it(folder: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here: kustomize's own opinion of deploy/kubernetes is missing.")
    built = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


@OVERLAYS
def test_every_variable_is_one_that_the_code_reads(folders: tuple[Path, ...]) -> None:
    named = {*config(*folders), *(name for each in every_container() for name in given(each))}
    assert named <= variables_of_the_code()


@OVERLAYS
def test_what_the_code_makes_of_them(folders: tuple[Path, ...]) -> None:
    env = environment(*folders)
    assert (env.bind_address, env.port) == ("0.0.0.0", port_of(*WEB))  # noqa: S104 - a pod's own address
    assert env.db_ssl_mode == "verify-full"
    assert not {"DEBUG", "DATABASE_URL", "SECRET_KEY", "DATA_DIR"} & set(config(*folders))


@OVERLAYS
def test_the_hosts_are_those_of_the_ingress(folders: tuple[Path, ...]) -> None:
    (ingress,) = documents(PRODUCTION / "ingress.yaml")
    hosts = [rule["host"] for rule in ingress["spec"]["rules"]]
    assert list(environment(*folders).allowed_hosts) == hosts == ingress["spec"]["tls"][0]["hosts"]


@OVERLAYS
def test_connections_are_shared_out_over_all_pods(folders: tuple[Path, ...]) -> None:
    surges = {
        name: manifest("Deployment", name)["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        for name in replicas(*folders)
    }
    env, pods = environment(*folders), sum(replicas(*folders).values()) + sum(surges.values())
    assert env.instance_count == pods
    plan = plan_from(env)
    assert plan.total <= plan.usable
    assert plan.total_per_instance >= OF_A_WORKER


def test_the_images_own_address_and_port_are_the_same() -> None:
    own = image_variables()
    assert (own["BIND_ADDRESS"], own["PORT"]) == (config(BASE)["BIND_ADDRESS"], config(BASE)["PORT"])
    (exposed,) = instructions("EXPOSE", last_stage())
    assert exposed.words == [str(port_of(*WEB)), str(port_of(*WORKER))]


def test_a_workers_port_is_the_one_it_serves() -> None:
    assert probe_port() == port_of(*WORKER) != port_of(*WEB)


def test_every_command_is_one_of_ours_and_in_exec_form() -> None:
    (command,) = instructions("CMD", last_stage())
    assert container(*WEB)["command"] == command.words
    named = [each["command"] for each in every_container() if each["command"][0] == "python"]
    assert len(named) == len(every_container()) - 1
    for words in named:
        assert words[1] == "manage.py"
        assert words[2] in get_commands()


@pytest.mark.parametrize("name", ["web", "worker"])
def test_the_probes(name: str) -> None:
    found = container("Deployment", name)
    paths = {f"/{pattern.pattern}" for pattern in probe_urls.urlpatterns}
    for probe, path in {"startup": "live", "liveness": "live", "readiness": "ready"}.items():
        asked = found[f"{probe}Probe"]["httpGet"]
        assert asked == {"path": f"/health/{path}", "port": PORT_NAMES[name]}
        assert asked["path"] in paths
    assert figures(found["livenessProbe"]) == LIVENESS
    assert figures(found["readinessProbe"]) == READINESS
    startup = found["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


def figures(probe: dict[str, Any]) -> tuple[int, ...]:
    names = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold")
    return tuple(probe[name] for name in names)


@OVERLAYS
def test_a_worker_has_longer_to_stop_than_it_allows_itself(folders: tuple[Path, ...]) -> None:
    env = environment(*folders)
    assert env.drain_timeout_seconds < env.shutdown_timeout_seconds
    assert pod(manifest(*WORKER))["terminationGracePeriodSeconds"] >= env.shutdown_timeout_seconds + 10


def test_a_web_pod_pauses_until_proxies_know_and_then_has_gunicorns_time() -> None:
    (program, pause) = container(*WEB)["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    grace = pod(manifest(*WEB))["terminationGracePeriodSeconds"]
    assert grace >= int(pause) + gunicorn.graceful_timeout + 5


def test_secrets_are_files_by_reference() -> None:
    assert not [each for each in manifests() if each["kind"] == "Secret"]
    for workload in workloads():
        volumes = {each["name"]: each for each in pod(workload)["volumes"]}
        for each in containers(workload):
            (mount,) = [found for found in each["volumeMounts"] if "secret" in volumes[found["name"]]]
            assert mount["readOnly"]
            assert set(given(each)) == {"DATABASE_URL_FILE", "SECRET_KEY_FILE"}
            assert {str(Path(path).parent) for path in given(each).values()} == {mount["mountPath"]}
            assert str(Path(config(BASE)["DB_SSL_ROOT_CERT"]).parent) == mount["mountPath"]


def test_every_container_is_locked_up() -> None:
    (user,) = instructions("USER", last_stage())
    uid, _, gid = user.text.partition(":")
    for workload in workloads():
        assert pod(workload)["automountServiceAccountToken"] is False
        assert pod(workload)["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(uid),
            "runAsGroup": int(gid),
            "fsGroup": int(gid),
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    for each in every_container():
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(each["resources"]["requests"])
        assert "memory" in each["resources"]["limits"]


@pytest.mark.parametrize("name", ["web", "worker"])
def test_what_selects_pods_finds_them(name: str) -> None:
    labels = manifest("Deployment", name)["spec"]["template"]["metadata"]["labels"]
    spread = pod(manifest("Deployment", name))["topologySpreadConstraints"][0]
    budget = manifest("PodDisruptionBudget", name)["spec"]
    selectors = [
        manifest("Deployment", name)["spec"]["selector"]["matchLabels"],
        budget["selector"]["matchLabels"],
        manifest("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    assert budget["maxUnavailable"] < replicas(BASE)[name]


@pytest.mark.parametrize("name", ["web", "worker"])
def test_metrics_are_found_and_let_through(name: str) -> None:
    annotations = manifest("Deployment", name)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port_of("Deployment", name))
    (rule,) = manifest("NetworkPolicy", name)["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [port_of("Deployment", name)]


def test_the_service_leads_to_the_web() -> None:
    service = manifest("Service", "web")["spec"]
    assert service["selector"] == manifest(*WEB)["spec"]["template"]["metadata"]["labels"]
    assert service["ports"][0]["targetPort"] == PORT_NAMES["web"]


def test_what_is_closed_is_opened_for_what_is_needed() -> None:
    assert manifest("NetworkPolicy", "closed")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    rules = manifest("NetworkPolicy", "outgoing")["spec"]["egress"]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    assert ports == {53, 5432, 4317, 4318}


def test_the_ingress_leads_to_all_that_clients_use_and_not_to_the_probes() -> None:
    (ingress,) = documents(PRODUCTION / "ingress.yaml")
    paths = {path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]}
    of_the_api = {f"/{path.split('/')[1]}" for path in api.get_openapi_schema()["paths"]}
    assert paths == {*of_the_api, "/api", "/admin", "/static"}
    for path in ("/api/docs", "/api/openapi.json", "/admin/"):
        resolve(path)


def test_the_names_of_the_kustomizations_are_the_manifests() -> None:
    for folder in (BASE, PRODUCTION):
        (kustomization,) = documents(folder / "kustomization.yaml")
        assert kustomization["namespace"] == manifests()[0]["metadata"]["name"]
        assert {each["name"] for each in kustomization.get("replicas", [])} <= set(replicas(BASE))
    assert list(KUBERNETES.glob("overlays/*")) == [PRODUCTION]
