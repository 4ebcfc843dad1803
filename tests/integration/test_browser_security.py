"""What browsers are told, and that the pages for people need nothing that they are told to refuse."""

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from eventsource_app.http.content_security import HEADER, header_value
from eventsource_app.testing import append_events, happened
from tests.builders import AccountOpened, a_store, a_stream

pytestmark = pytest.mark.django_db
CODE_ATTRIBUTES = ("src", "href", "action")
MOST_PAGES = 40


class Page(HTMLParser):
    """A page's links, and whatever in it the policy would refuse."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__()
        self.url = url
        self.refused: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or "style" in given or any(name.startswith("on") for name in given):
            self.refused.append(f"{self.url}: <{tag} {given}>")
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.refused.append(f"{self.url}: a script inside the page")
        foreign = [
            v
            for name, v in given.items()
            if name in CODE_ATTRIBUTES and tag != "a" and v and urlsplit(v).netloc
        ]
        self.refused += [f"{self.url}: {address}" for address in foreign]
        if tag == "a":
            self.links.append(urlsplit(urljoin(self.url, given.get("href") or "")).path)


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return client


def test_the_policy_is_on_every_answer(client: Client) -> None:
    value = header_value(settings.SECURE_CSP)

    assert "default-src 'self'" in value
    assert "unsafe" not in value
    for path in ("/health/live", "/api/docs", "/admin/login/", "/nowhere"):
        assert client.get(path)[HEADER] == value


def test_the_admin_needs_nothing_that_the_policy_refuses(admin: Client) -> None:
    append_events(a_stream(), happened(AccountOpened, holder="ada"), store=a_store())
    waiting, seen = ["/admin/"], dict[str, Page]()
    while waiting and len(seen) < MOST_PAGES:
        path = waiting.pop(0)
        response = admin.get(path)
        if path in seen or response.status_code != 200 or "html" not in response["Content-Type"]:
            continue
        seen[path] = Page(path, response.content.decode())
        waiting += [link for link in seen[path].links if link.startswith("/admin/") and "logout" not in link]

    assert len(seen) > 10
    assert [refused for page in seen.values() for refused in page.refused] == []


def test_the_api_page_needs_nothing_that_the_policy_refuses(client: Client) -> None:
    page = Page("/api/docs", client.get("/api/docs").content.decode())

    assert page.refused == []


def test_a_policy_that_is_not_set_sends_nothing(settings: object, client: Client) -> None:
    settings.SECURE_CSP = {}  # type: ignore[attr-defined]

    assert HEADER not in client.get("/health/live").headers
