"""The API's page in a real browser, under the policy that it is served with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Gunicorn

pytestmark = [pytest.mark.acceptance]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(
    BROWSER is None, reason="no chromium is on PATH, so no page can be looked at as people see it"
)
def test_the_api_page_shows_the_commands(gunicorn: Gunicorn, port: int, tmp_path: Path) -> None:
    gunicorn()
    assert BROWSER is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path}/browser",
               "--virtual-time-budget=20000", "--dump-dom"]  # fmt: skip

    result = subprocess.run(
        [BROWSER, *options, f"http://127.0.0.1:{port}/api/docs"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert 'data-path="/orders/{order_id}/ship"' in result.stdout, result.stderr[-2000:]
    assert "Content Security Policy" not in result.stderr
