"""settings.logging: the level that a deployment asks for holds for every line, those about requests too."""

import pytest

from settings.logging import logging_config


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_lines_about_requests_follow_the_level_too(level: str) -> None:
    config = logging_config(level)

    assert config["root"]["level"] == level
    assert config["loggers"]["gunicorn.access"]["level"] == level
