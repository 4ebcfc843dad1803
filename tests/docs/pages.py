"""Runs the Python blocks of a page in order, and then the tests that they define.

A block whose first line names a file is that file, as a reader would copy it: a module of its own, which must import what
it uses. The others share one namespace, which has the names of all blocks before them.
"""

import inspect
import re
import sys
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest
from django.apps import apps
from django.db import connection, models, transaction

from eventsource_app.events import default_registry
from eventsource_app.subscriptions import errors
from eventsource_app.subscriptions import registry as subscription_registry
from eventsource_app.testing import run_to_caught_up

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FIXTURES = {"caught_up": run_to_caught_up}
Class = TypeVar("Class")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+)/(\w+)\.py\b")


def run_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a page's blocks and tests in the present test database; return how many blocks there were."""
    module = ModuleType(f"docs_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = page.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    with _own_registries(monkeypatch), _own_models():
        modules = [module]
        for block in blocks:
            place = _file(block.group(1), monkeypatch) or module
            lines_before = text.count("\n", 0, block.start(1))
            code = compile("\n" * lines_before + block.group(1), str(page), "exec")
            exec(code, vars(place))  # noqa: S102 - our own pages
            _make_tables(place)
            if place is not module:
                modules.append(place)
                vars(module).update(_names(place))
        for test in [test for each in modules for test in _tests(each)]:
            _run_test(test)
    return len(blocks)


def _file(code: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType | None:
    """Return the module that the block is, where its first line names one."""
    named = FILE.match(code)
    if named is None:
        return None
    module = ModuleType(".".join(named.groups()))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def _names(module: ModuleType) -> dict[str, object]:
    """What the later blocks know of a file; its tests are run as its own."""
    return {name: value for name, value in vars(module).items() if not name.startswith(("__", "test_"))}


@contextmanager
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a page registers is forgotten after it."""
    with monkeypatch.context() as patch:
        patch.setattr(default_registry, "_classes", dict(default_registry._classes))
        patch.setattr(default_registry.upcasters, "_steps", dict(default_registry.upcasters._steps))
        patch.setattr(errors, "_TABLE", list(errors._TABLE))
        patch.setattr(subscription_registry, "_declared", dict(subscription_registry._declared))
        yield


@contextmanager
def _own_models() -> Iterator[None]:
    known = set(apps.all_models)
    try:
        yield
    finally:
        for label in set(apps.all_models) - known:
            del apps.all_models[label]
        apps.clear_cache()


def _make_tables(module: ModuleType) -> None:
    existing = connection.introspection.table_names()
    for model in _own_classes(module, models.Model):
        if model._meta.db_table not in existing:
            with connection.schema_editor() as editor:
                editor.create_model(model)


def _own_classes(module: ModuleType, base: type[Class]) -> list[type[Class]]:
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base)]
    return [value for value in found if value.__module__ == module.__name__]


def _tests(module: ModuleType) -> Iterator[Callable[..., object]]:
    yield from (value for name, value in list(vars(module).items()) if name.startswith("test_"))
    for case_class in _own_classes(module, unittest.TestCase):
        case = case_class()
        yield from (getattr(case, name) for name in dir(case) if name.startswith("test_"))


def _run_test(test: Callable[..., object]) -> None:
    """Run it in a savepoint of its own: what it appends and projects is no other test's business."""
    savepoint = transaction.savepoint()
    test(**{name: FIXTURES[name] for name in inspect.signature(test).parameters})
    transaction.savepoint_rollback(savepoint)
