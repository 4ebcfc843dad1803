"""The audit trail: who did what at the desk, when, to what and why. One entry of Django's log per action and row."""

from collections.abc import Iterable
from typing import cast

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest


def operator(request: HttpRequest) -> str:
    """Return the name under which the engine keeps who asked."""
    return request.user.get_username()[:200]


def note(request: HttpRequest, subject: Model, what: str, why: str = "", *, name: str = "") -> None:
    """Keep what came of an operator's action on a row; ``why`` is the operator's own reason."""
    note_all(request, [(subject, what)], why, name=name)


def note_all(
    request: HttpRequest, done: Iterable[tuple[Model, str]], why: str = "", *, name: str = ""
) -> None:
    """Keep what came of one action on several rows, in one statement."""
    LogEntry.objects.bulk_create(
        LogEntry(
            user=cast("User", request.user),
            content_type=ContentType.objects.get_for_model(subject),
            object_id=str(subject.pk),
            object_repr=(name or str(subject))[:200],
            action_flag=CHANGE,
            change_message=f"{what} Reason: {why}" if why else what,
        )
        for subject, what in done
    )


def entries_about(subject: Model, limit: int = 50) -> list[LogEntry]:
    """Return what operators did with a row, newest first."""
    found = LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(subject), object_id=str(subject.pk)
    )
    return list(found.select_related("user").order_by("-action_time", "-pk")[:limit])
