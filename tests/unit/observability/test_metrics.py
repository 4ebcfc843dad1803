"""The catalogue of metrics, and what a process tells about itself."""

import re

from eventsource_app.observability.metrics import PROCESS_FAMILIES, append_conflicts, collect_process_metrics
from eventsource_app.probes.exposition import FAMILIES, process_metrics_text
from eventsource_app.probes.row_metrics import ROW_FAMILIES
from tests.scraping import families_of

LABELS = {"method", "route", "status", "database", "subscription", "state"}


def test_names_follow_the_conventions() -> None:
    for family in FAMILIES:
        assert re.fullmatch(r"(eventsource|http)_[a-z_]+", family.name)
        assert not family.name.endswith("_total"), "the suffix is added by the kind"
        assert family.kind != "histogram" or family.name.endswith("_seconds")
        assert family.help.endswith(".")
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) == len(PROCESS_FAMILIES + ROW_FAMILIES)


def test_no_label_is_an_id() -> None:
    assert {label for family in FAMILIES for label in family.labels} <= LABELS


def test_every_family_is_told_even_before_it_has_a_value() -> None:
    assert [metric.name for metric in collect_process_metrics()] == [f.name for f in PROCESS_FAMILIES]


def test_the_text_is_what_prometheus_own_parser_reads() -> None:
    append_conflicts.inc()
    found = families_of(process_metrics_text().decode())
    for family in PROCESS_FAMILIES:
        metric = found[family.name]
        assert (metric.type, metric.documentation) == (family.kind, family.help)
        assert {sample.name for sample in metric.samples} <= set(family.sample_names)
    assert found["eventsource_append_conflicts"].samples[0].value >= 1
