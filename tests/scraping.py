"""One answer of /metrics, read by Prometheus' own parser for OpenMetrics."""

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def families_of(text: str) -> dict[str, Metric]:
    """Return the metrics by name; the parser raises ValueError for whatever Prometheus would refuse."""
    return {metric.name: metric for metric in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]


def value_of(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return one sample; 0 for a series that does not exist yet."""
    samples = (sample for metric in families.values() for sample in metric.samples)
    return next((float(s.value) for s in samples if (s.name, s.labels) == (name, labels)), 0.0)
