"""deploy/ as data: the Dockerfile's instructions, the manifests' documents, and the variables that the code reads."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from settings.env import Environment, read_environment
from settings.local_postgres import PROJECT
from settings.variables import declared

DEPLOY = PROJECT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BASE, PRODUCTION = KUBERNETES / "base", KUBERNETES / "overlays" / "production"
# Stand in for the files of the secret, so that the environment can be read.
SECRETS = {"DATABASE_URL": "postgresql://app@db.example.org/orders", "SECRET_KEY": "0123456789abcdef" * 4}

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile; ``stage`` counts from 0."""

    stage: int
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its arguments: those of the exec form, or those of a shell."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return shlex.split(self.text)

    @property
    def variables(self) -> dict[str, str]:
        """What an ENV sets."""
        return dict(word.split("=", 1) for word in self.words)


@cache
def dockerfile() -> tuple[Instruction, ...]:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    found: list[Instruction] = []
    stage = -1
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, _, text = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, text))
    return tuple(found)


def last_stage() -> int:
    return dockerfile()[-1].stage


def instructions(name: str, stage: int | None = None) -> list[Instruction]:
    return [found for found in dockerfile() if found.name == name and stage in (None, found.stage)]


def image_variables() -> dict[str, str]:
    """What the finished image sets."""
    return {name: value for env in instructions("ENV", last_stage()) for name, value in env.variables.items()}


def documents(path: Path) -> list[Document]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


@cache
def manifests() -> tuple[Document, ...]:
    """Every object of the base, as its kustomization lists them."""
    (kustomization,) = documents(BASE / "kustomization.yaml")
    return tuple(found for name in kustomization["resources"] for found in documents(BASE / name))


def manifest(kind: str, name: str) -> Document:
    (found,) = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def workloads() -> list[Document]:
    return [each for each in manifests() if each["kind"] in ("Deployment", "Job")]


def pod(workload: Document) -> Document:
    return dict(workload["spec"]["template"]["spec"])


def containers(workload: Document) -> Iterator[Document]:
    yield from pod(workload).get("initContainers", [])
    yield from pod(workload)["containers"]


def every_container() -> list[Document]:
    return [container for workload in workloads() for container in containers(workload)]


def container(kind: str, name: str) -> Document:
    """Return the one container that a workload is there for."""
    (found,) = pod(manifest(kind, name))["containers"]
    return dict(found)


def given(container: Document) -> dict[str, str]:
    """What a container's own ``env`` sets."""
    return {each["name"]: each["value"] for each in container["env"]}


def config(*folders: Path) -> dict[str, str]:
    """The variables of the config map: of the base, and of the overlays that merge into it."""
    merged: dict[str, str] = {}
    for folder in folders:
        (kustomization,) = documents(folder / "kustomization.yaml")
        for generator in kustomization["configMapGenerator"]:
            for name in generator["envs"]:
                merged |= _variables(folder / name)
    return merged


def _variables(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment(*folders: Path) -> Environment:
    """What the code makes of those variables."""
    return read_environment({**image_variables(), **config(*folders), **SECRETS})


def replicas(*folders: Path) -> dict[str, int]:
    counts = {
        each["metadata"]["name"]: each["spec"]["replicas"]
        for each in workloads()
        if each["kind"] == "Deployment"
    }
    for folder in folders[1:]:
        (kustomization,) = documents(folder / "kustomization.yaml")
        counts |= {each["name"]: each["count"] for each in kustomization.get("replicas", [])}
    return counts


def compose() -> Document:
    (found,) = documents(DEPLOY / "compose.yaml")
    return found


def variables_of_the_code() -> set[str]:
    """Every variable that the environment declares, files of secrets too."""
    known = [variable for _, variable in declared(Environment)]
    return {each.name for each in known} | {f"{each.name}_FILE" for each in known if each.secret}


def seconds(text: str) -> int:
    """Return a compose file's duration in seconds."""
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match.group(1))
