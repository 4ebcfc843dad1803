"""The pages on production name what is there: secrets' files, scripts, objects, every item of the readiness report."""

import re
from pathlib import Path

import pytest
import yaml

from eventsource_app.checks.readiness import checklist
from settings.local_postgres import PROJECT
from tests.deploy.files import BASE, DEPLOY, config, container, given, manifests
from tests.deploy.test_alerts import RUNBOOK, sections

YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text() -> str:
    return RUNBOOK.read_text(encoding="utf-8")


def production() -> str:
    return (PROJECT / "docs" / "production.md").read_text(encoding="utf-8")


def secret_files() -> set[str]:
    paths = [*given(container("Deployment", "web")).values(), config(BASE)["DB_SSL_ROOT_CERT"]]
    return {Path(path).name for path in paths}


def test_every_source_of_secrets_gives_the_files_that_the_pods_read() -> None:
    sources = {title: body for title, body in sections(text(), "### ").items() if title.startswith("From ")}
    assert set(sources) == {"From Kubernetes", "From AWS", "From Vault", "From Azure"}
    for title, body in sources.items():
        assert {name for name in secret_files() if name not in body} == set(), title


def test_every_manifest_in_it_can_be_read() -> None:
    found = [document for block in YAML.findall(text()) for document in yaml.safe_load_all(block)]
    assert len(found) == 4
    objects = [each["spec"]["parameters"]["objects"] for each in found if "spec" in each]
    assert len([yaml.safe_load(each) for each in objects]) == 2


def test_every_script_and_object_that_is_named_exists() -> None:
    scripts = set(re.findall(r"/opt/eventsource/(\w+\.sh)|`(\w+\.sh) ", text()))
    assert {name for pair in scripts for name in pair if name} == {"restore.sh", "base_backup.sh"}
    assert all((DEPLOY / "postgresql" / name).is_file() for pair in scripts for name in pair if name)
    for path in re.findall(r"(?<![\w/])(deploy/[\w./-]+\w)", text() + production()):
        if path.startswith(("deploy/web", "deploy/worker")):
            continue  # kubectl's short name of a Deployment
        assert (PROJECT / path).exists(), path
    names = {(each["kind"].lower(), each["metadata"]["name"]) for each in manifests()}
    assert {("job", "migrate"), ("deployment", "web"), ("deployment", "worker")} <= names
    for kind, name in re.findall(r"\b(job|deployment)/(\w+)", text()):
        assert (kind, name) in names


def test_what_it_must_say() -> None:
    titles = set(sections(text(), "## "))
    assert {
        "Deploy", "Roll back", "Scale", "Restore", "Alerts", "Capacity worksheet", "On call", "Secrets",
    } <= titles  # fmt: skip
    assert "couldn't get a connection after" in text()
    assert "too many clients already" in text()


@pytest.mark.django_db
def test_the_checklist_is_answered_item_by_item() -> None:
    columns = [line.split(" | ")[1] for line in production().splitlines() if line.count(" | ") >= 3]
    named = set(re.findall(r"`(\w+)`", " ".join(columns)))
    others = set(re.findall(r"`([a-z_]+)`", production()))
    items = {item.id for item in checklist()}
    assert named <= items, "the report has no such item"
    assert items <= others, "the page does not mention it"
    assert len(columns) - 3 == 6 + 7 + 6, "the tutorial's checklist has so many items"
