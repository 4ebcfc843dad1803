"""What the desk's templates need, registered: the wording itself is in ``admin.wording``."""

from typing import Any

from django import template
from django.apps import apps

register = template.Library()


def as_list(value: Any) -> list[Any]:
    return [value]


def desk_home(context: template.Context) -> Any:
    """Return what the start page leads with, for the user who looks."""
    from eventsource_app.admin.home import home

    return home(context["request"].user)


def _register_all() -> None:
    from eventsource_app.admin import readonly, wording

    for spoken in (
        wording.number,
        wording.rate,
        wording.duration,
        wording.ago,
        wording.moment,
        wording.tone,
        wording.words,
        wording.json_inline,
        as_list,
    ):
        register.filter(spoken.__name__, spoken)
    register.filter("json_text", readonly.pretty_json)
    register.simple_tag(desk_home, takes_context=True)


# Django imports the tags of every app before each command, also where there is no admin and so no desk.
if apps.is_installed("django.contrib.admin"):
    _register_all()
