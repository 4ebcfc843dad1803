"""What the wheel asks for is what the service is locked to: pyproject.toml and requirements.in name the same versions."""

import tomllib

from tests.docs.pages import ROOT


def test_the_wheel_asks_for_what_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {*project["dependencies"], *project["optional-dependencies"]["tracing"]}
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    assert asked <= {line.partition("#")[0].strip() for line in lines}
