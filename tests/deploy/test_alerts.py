"""Alerts and dashboard: every metric they name is there, thresholds are the code's, and each alert has its paragraph."""

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from eventsource_app.observability.metrics import PROCESS_FAMILIES
from eventsource_app.subscriptions.config import HealthCheckConfig
from settings.local_postgres import PROJECT
from settings.subscriptions import eventsource
from tests.acceptance.processes import Process
from tests.deploy.files import BASE, DEPLOY, documents, environment
from tests.docs.test_pages import anchors
from tests.waiting import wait_for

ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
RUNBOOK = PROJECT / "docs" / "runbook.md"
RULES_TEST = Path(__file__).with_name("alerts_test.yaml")
METRIC = re.compile(r"\b(?:eventsource|http)_[a-z0-9_]+")
CHOSEN = re.compile(r"\b((?:eventsource|http)_[a-z0-9_]+){([^}]*)}")
EQUALS = re.compile(r'(\w+)="([^"]*)"')
# Which threshold of HealthCheckConfig an alert repeats.
THRESHOLDS = {
    "SubscriptionLag": "max_lag_events_warning",
    "SubscriptionLagCritical": "max_lag_events_critical",
    "DeadLetters": "max_dead_letters_warning",
    "DeadLettersCritical": "max_dead_letters_critical",
    "SubscriptionErrorRate": "max_error_rate_per_minute",
    "FeedFrozen": "max_frozen_seconds",
    "FenceHeld": "max_frozen_seconds",
}


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    expression: str
    severity: str
    runbook: str


def alerts() -> list[Alert]:
    (rules,) = documents(ALERTS)
    return [
        Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"]["runbook_url"])
        for group in rules["groups"]
        for rule in group["rules"]
    ]


def panels() -> list[dict[str, Any]]:
    return list(json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))["panels"])


def expressions() -> Iterator[str]:
    yield from (alert.expression for alert in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def named_metrics() -> set[str]:
    return {name for expression in expressions() for name in METRIC.findall(expression)}


def real_metrics(text: str) -> tuple[set[str], dict[str, list[dict[str, str]]]]:
    """Return the names that a scrape gives Prometheus, and the label sets that each of them shows now."""
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
    names: set[str] = set()
    labels: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        names |= {family.name + suffix for suffix in suffixes[family.type]}
        for sample in family.samples:
            labels.setdefault(sample.name, []).append(sample.labels)
    return names, labels


@pytest.fixture
def scrapes(
    process_environment: dict[str, str], tmp_path: Path, port: int, another_port: int
) -> Iterator[list[str]]:
    """What a real web and a real worker answer to Prometheus, once the worker has its leases."""
    commands = {
        "web": ["-m", "gunicorn", "--config", "python:settings.gunicorn"],
        "worker": ["manage.py", "run_subscriptions", "--probe-port", str(another_port)],
    }
    environment = {**process_environment, "PORT": str(port)}
    urls = [f"http://127.0.0.1:{number}/metrics" for number in (port, another_port)]
    processes = [
        Process(command, environment, tmp_path / f"{name}.log") for name, command in commands.items()
    ]
    try:
        wait_for(lambda: "eventsource_breaker_partitions{" in text_of(urls[0]), what="the worker's rows")
        yield [text_of(url) for url in urls]
    finally:
        for process in processes:
            process.kill()


def text_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own address
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.mark.acceptance
@pytest.mark.slow
def test_every_metric_that_is_named_is_in_a_real_scrape(scrapes: list[str]) -> None:
    (names, labels), (of_a_worker, _) = (real_metrics(text) for text in scrapes)
    assert named_metrics() - names == set(), "a web pod shows all: its own and what the rows say"
    own = {name for family in PROCESS_FAMILIES for name in family.sample_names}
    assert (named_metrics() & own) - of_a_worker == set(), "a worker shows its own"
    for name, matchers in CHOSEN.findall(" ".join(expressions())):
        wanted = dict(EQUALS.findall(matchers))
        assert not wanted or any(wanted.items() <= found.items() for found in labels[name]), (name, wanted)


def test_the_thresholds_are_the_codes() -> None:
    ours = eventsource(environment(BASE))["HEALTH"]
    assert ours.items() <= asdict(HealthCheckConfig()).items(), "the settings' thresholds are the defaults"
    by_name = {alert.name: alert.expression for alert in alerts()}
    for name, threshold in THRESHOLDS.items():
        assert by_name[name].endswith(f">= {asdict(HealthCheckConfig())[threshold]:g}")


def test_an_alert_pages_or_warns() -> None:
    assert {alert.severity for alert in alerts()} == {"warning", "critical"}
    assert len({alert.name for alert in alerts()}) == len(alerts())


def test_every_alert_has_its_paragraph() -> None:
    paragraphs = sections(RUNBOOK.read_text(encoding="utf-8"), "### ")
    for alert in alerts():
        path, _, anchor = alert.runbook.partition("#")
        assert PROJECT / path == RUNBOOK
        assert anchor in anchors(RUNBOOK)
        (paragraph,) = [text for title, text in paragraphs.items() if title.lower() == anchor]
        assert alert.name in paragraph or alert.name.lower() == anchor
        assert [word for word in ("*Means.*", "*Look.*", "*Do.*") if word not in paragraph] == []


def sections(text: str, mark: str) -> dict[str, str]:
    """Return the sections under headings of that level: title -> text up to the next heading."""
    found = re.split(rf"^{mark}(.+)$", text, flags=re.MULTILINE)[1:]
    texts = [re.split(r"^#", body, maxsplit=1, flags=re.MULTILINE)[0] for body in found[1::2]]
    return dict(zip(found[::2], texts, strict=True))


def test_the_dashboard_mentions_every_alert() -> None:
    text = " ".join(panel["description"] for panel in panels())
    shown = set(re.findall(r"[A-Z]\w+", text))
    missing = {alert.name.removesuffix("Critical") for alert in alerts()} - shown
    assert missing == {"SubscriptionStopped", "NothingObserved"}


def test_the_dashboard_has_a_source_and_no_overlaps() -> None:
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}


@pytest.mark.parametrize("words", [("check", "rules", str(ALERTS)), ("test", "rules", str(RULES_TEST))])
def test_promtool_agrees(words: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not here: apt-get install prometheus, as .ci/run does.")
    result = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtools_test_fires_every_alert() -> None:
    text = RULES_TEST.read_text(encoding="utf-8")
    assert [alert.name for alert in alerts() if f'alertname="{alert.name}"' not in text] == []
