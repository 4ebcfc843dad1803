"""A real browser: Chromium where it is installed, at a desktop's and a phone's width, in light and dark."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.pictures import save

expect.set_options(timeout=30_000)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# As root, without a screen, and without asking anything outside this machine.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip
PATIENCE_MS = 30_000
# All of WCAG 2.2's levels A and AA that a program can judge.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
PASSWORD = "a-password-for-tests"


@dataclass(frozen=True, slots=True)
class Screen:
    """What a person looks at."""

    name: str
    width: int
    height: int
    scheme: str


DESKTOP = Screen("desktop", 1280, 800, "light")
PHONE = Screen("phone", 390, 844, "dark")
SCREENS = [
    pytest.param(DESKTOP, id="desktop-light"),
    pytest.param(PHONE, id="phone-dark"),
]


# For a module, not for the session: while Playwright's loop runs in this process, no other test may start one of its own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(
            "no chromium is on PATH, so no page can be looked at as people see it; install Debian's chromium"
        )
    with pytest.MonkeyPatch.context() as patch:
        # Playwright's synchronous functions run on a loop of their own, which Django takes for an asynchronous caller.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            yield browser
            browser.close()


class Desk:
    """One person's browser at the desk, which finds fault with every page that it is shown."""

    def __init__(self, context: BrowserContext, address: str, screen: Screen, pictures: Path | None) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.screen = screen
        self._address = address
        self._pictures = pictures
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._hear(message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def log_in(self) -> None:
        """Log in by the form, as a person does."""
        User.objects.create_superuser("ada", password=PASSWORD)
        self.open("/admin/")
        self.page.get_by_label("Username").fill("ada")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()

    def open(self, path: str) -> None:
        self.page.goto(f"{self._address}{path}")

    @property
    def path(self) -> str:
        return urlsplit(self.page.url).path

    def text(self) -> str:
        return self.page.locator("#content").inner_text()

    def look(self, name: str) -> None:
        """Check the page as it is shown, and take its picture if pictures are wanted."""
        self._check_width(name)
        assert self.complaints == [], f"{name}: {self.complaints}"
        self._check_access(name)
        self.complaints.clear()  # axe tries styles that the policy refuses, rightly
        if self._pictures:
            save(self.page.screenshot(full_page=True), self._pictures / f"{name}-{self.screen.name}.png")

    def _check_width(self, name: str) -> None:
        beyond = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert beyond <= 0, f"{name} is {beyond} pixels wider than a screen of {self.screen.width}"

    def _check_access(self, name: str) -> None:
        results: Any = Axe().run(self.page, options=RULES)
        found = [
            f"{fault['id']}: {node['html'][:200]}"
            for fault in results.response["violations"]
            for node in fault["nodes"]
        ]
        assert found == [], f"{name}: " + "\n".join(found)

    def _hear(self, message: ConsoleMessage) -> None:
        is_bad = message.type == "error" or "Content Security Policy" in message.text
        if is_bad and not message.location["url"].endswith("/favicon.ico"):  # browsers ask for it unasked
            self.complaints.append(message.text)


@pytest.fixture
def desk_at(
    chromium: Browser, live_server: Any, request: pytest.FixtureRequest
) -> Iterator[Callable[[Screen], Desk]]:
    """Return a function that opens a browser window of its own."""
    contexts: list[BrowserContext] = []
    wanted = request.config.getoption("--screenshots")

    def open_window(screen: Screen) -> Desk:
        context = chromium.new_context(
            viewport={"width": screen.width, "height": screen.height},
            color_scheme="dark" if screen.scheme == "dark" else "light",
        )
        contexts.append(context)
        return Desk(context, live_server.url, screen, Path(wanted) if wanted else None)

    yield open_window
    for context in contexts:
        context.close()
