"""The pages keep their word: their code runs, and what they name exists."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from eventsource_app.http import callers
from tests.docs.pages import PAGES, ROOT, run_page

TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
COMMAND = re.compile(r"manage\.py ([a-z_]+)")
READMES_COMMAND = re.compile(r"`([a-z_]+)[^`]*`")
OF_DJANGO = {"migrate", "collectstatic", "check", "runserver"}
BY_NAME = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.django_db
@BY_NAME
def test_the_code_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "_scopes", set(callers._scopes))  # a page's operations are not the project's
    run_page(page, monkeypatch)


@BY_NAME
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = TEST_NAME.findall(page.read_text(encoding="utf-8"))
    assert [f"{path}::{name}" for path, name in named if not defines(ROOT / path, name)] == []


def test_every_promise_names_its_test() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").partition("\n## Not promised")[0]
    sections = {section.partition("\n")[0]: section for section in text.split("\n## ")[1:]}
    assert [title for title, section in sections.items() if not TEST_NAME.search(section)] == []


@BY_NAME
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@BY_NAME
def test_every_command_that_is_named_exists(page: Path) -> None:
    named = set(COMMAND.findall(page.read_text(encoding="utf-8")))
    assert named <= set(get_commands()) | OF_DJANGO


def test_the_readmes_table_has_just_our_commands() -> None:
    section = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Commands\n")[2].partition("\n## ")[0]
    )
    first_cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    listed = {name for cell in first_cells for name in READMES_COMMAND.findall(cell)} - {"manage"}
    ours = {
        name for name, app in get_commands().items() if app in ("eventsource_app", "orders", "projections")
    }
    assert listed == ours


UNDRAWN = ("__init__", "apps")  # Django's own


def test_the_picture_of_the_house_is_true() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    picture = text.partition("    settings > projections > orders > eventsource_app\n")[2].partition(
        "\nAn order"
    )[0]
    drawn = places(picture)
    missing = [str(p) for p in drawn if not p.exists() and not p.with_suffix(".py").exists()]
    assert missing == []
    folders = {p.parent for p in drawn if p.with_suffix(".py").exists()}
    modules = {file.with_suffix("") for folder in folders for file in folder.glob("*.py")}
    assert {str(m) for m in modules - set(drawn) if m.name not in UNDRAWN} == set()


def defines(file: Path, test: str) -> bool:
    """Say whether a test file is there and has the test (any, where none is named)."""
    definition = re.compile(rf"^ *def {test or 'test_[a-z0-9_]+'}\(", re.MULTILINE)
    return file.is_file() and definition.search(file.read_text(encoding="utf-8")) is not None


def places(picture: str) -> list[Path]:
    """Return the folders and modules that the picture draws."""
    found: list[Path] = []
    folder, app = ROOT, ROOT
    for line in filter(None, picture.splitlines()):
        drawn = re.match(r" {4}( {2})?(\w+)/", line)
        if drawn:
            app = app if drawn.group(1) else ROOT / drawn.group(2)
            folder = app / drawn.group(2) if drawn.group(1) else app
            found.append(folder)
        modules = re.split(r" {3,}", line.strip())[1 if drawn else 0 :]
        found += [
            folder / name
            for part in modules[:1]
            if "·" in part or " " not in part
            for name in part.split(" · ")
        ]
    return found


def anchors(page: Path) -> set[str]:
    """Return the names that a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
