"""docs/environment.md lists every variable of settings/env.py with its default, and no other."""

import re
from pathlib import Path

from settings.env import Environment
from settings.variables import declared

PAGE = Path(__file__).parents[2] / "docs" / "environment.md"
ROW = re.compile(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\| (.+) \|$", re.MULTILINE)


def test_the_table_is_what_the_code_reads() -> None:
    documented = {name: default for name, default, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}

    assert documented == {variable.name: variable.default_text for _, variable in declared(Environment)}


def test_every_secret_says_that_it_may_come_from_a_file() -> None:
    page = PAGE.read_text(encoding="utf-8")
    meanings = {name: meaning for name, _, meaning in ROW.findall(page)}

    for _, variable in declared(Environment):
        assert (f"`{variable.name}_FILE`" in meanings[variable.name]) is variable.secret


def test_nothing_else_reads_the_environment() -> None:
    root = PAGE.parents[1]
    sources = [
        *root.glob("*.py"),
        *(path for folder in ("eventsource_app", "orders", "projections", "settings")
          for path in (root / folder).rglob("*.py")),
    ]  # fmt: skip
    readers = {
        path.name for path in sources if re.search(r"\bos\.(environ|getenv)\b", path.read_text("utf-8"))
    }

    assert readers == {"env.py"}
