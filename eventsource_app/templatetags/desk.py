"""What the desk's templates need, registered: the wording itself is in ``admin.wording``."""

from typing import Any

from django import template

from eventsource_app.admin import wording
from eventsource_app.admin.home import Home, home
from eventsource_app.admin.readonly import pretty_json

register = template.Library()

for spoken in (
    wording.number,
    wording.rate,
    wording.duration,
    wording.ago,
    wording.moment,
    wording.tone,
    wording.words,
):
    register.filter(spoken.__name__, spoken)
register.filter("json_text", pretty_json)
register.filter("json_inline", wording.json_inline)


@register.filter
def as_list(value: Any) -> list[Any]:
    return [value]


@register.simple_tag(takes_context=True)
def desk_home(context: template.Context) -> Home | None:
    """Return what the start page leads with, for the user who looks."""
    return home(context["request"].user)
