"""A person at the desk: a staff user with just the permissions of the test, and what the pages say to them."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client


def staff(client: Client, *permissions: str) -> Client:
    """Log a new staff user with exactly these permissions in."""
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    assert user.user_permissions.count() == len(permissions)
    client.force_login(user)
    return client


def said(response: Any) -> list[str]:
    """Return the messages that a page shows, each with its level."""
    return [f"{message.level_tag}: {message.message}" for message in response.context["messages"]]


def text(response: Any) -> str:
    """Return the page's body."""
    content: str = response.content.decode()
    return content
