"""docs/metrics.md lists every metric that there is, and no other."""

import re
from pathlib import Path

from eventsource_app.probes.exposition import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([`\w, ]*) ?\| (.+) \|$", re.MULTILINE)


def test_the_tables_are_what_the_code_tells() -> None:
    documented = [
        (name, kind, tuple(re.findall(r"\w+", labels)), meaning)
        for name, kind, labels, meaning in ROW.findall(PAGE.read_text(encoding="utf-8"))
    ]
    assert documented == [
        (f"{f.name}_total" if f.kind == "counter" else f.name, f.kind, f.labels, f.help) for f in FAMILIES
    ]
