"""Chromium for the tests of pages; without it or playwright they are skipped, with the reason.

Once per module and not per process: playwright's synchronous side keeps an event loop running for as long as it is up,
beside which no asynchronous test of the same process can run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the page's tests need playwright: pip install -e .[e2e]"
    )
    if not CHROMIUM.exists():
        pytest.skip(f"the page's tests need Chromium at {CHROMIUM}: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page. What it complains about (errors, violations of the content policy) fails the test at its end."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    complaints: list[str] = []

    def dismiss(dialog: Any) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", dismiss)
    page.on("console", lambda message: complaints.append(message.text) if _matters(message.text) else None)
    page.set_default_timeout(8000)
    yield page
    context.close()
    assert complaints == []


def _matters(text: str) -> bool:
    """The browser reports a refused upgrade or a 404 that the page expects and shows, and that a test reads pixels."""
    return not any(known in text for known in ("Failed to load resource", "WebSocket connection to", "getImageData"))
