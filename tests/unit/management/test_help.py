"""``--help`` says of every option of ours what it does, and of every value what is meant."""

import argparse
from collections.abc import Iterator

import pytest
from django.core.management import get_commands, load_command_class

OURS = sorted(
    name for name, app in get_commands().items() if app in ("eventsource_app", "orders", "projections")
)
SAY_IT_THEMSELVES = {"name", "verb", "json", "args"}  # the last one is Django's


def explained(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from explained(each)
        elif action.dest not in SAY_IT_THEMSELVES:
            yield action


@pytest.mark.parametrize("name", OURS)
def test_every_option_says_what_it_does(name: str) -> None:
    command = load_command_class(get_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    assert [action.dest for action in explained(parser) if not action.help] == []
