"""Chromium for the tests of pages; without it or playwright they are skipped, with the reason.

Once per module and not per process: playwright's synchronous side keeps an event loop running for as long as it is up,
beside which no asynchronous test of the same process can run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
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
    "--use-fake-device-for-media-stream=device-count=2,fps=10",
    "--host-resolver-rules=MAP camera.test 127.0.0.1",  # a name for loopback that no browser trusts as it trusts that
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "reduced_motion": "reduce"}


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
    with opened(
        browser, viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
    ) as page:
        yield page


@pytest.fixture
def phone(browser: Any) -> Iterator[Any]:
    """As `page`, on a phone's screen held upright, which may use its two cameras and keep its screen on."""
    with opened(browser, **PHONE, permissions=["camera", "screen-wake-lock"]) as page:
        yield page


@contextmanager
def opened(browser: Any, **context: Any) -> Iterator[Any]:
    """A page in a context of its own. Raises `AssertionError` at the end for what it complained about."""
    made = browser.new_context(**context)
    page = made.new_page()
    complaints: list[str] = []

    def dismiss(dialog: Any) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("dialog", dismiss)
    page.on("console", lambda message: complaints.append(message.text) if _matters(message.text) else None)
    page.set_default_timeout(15_000)  # two cores, and other tests on them
    yield page
    made.close()
    assert not complaints, complaints


class BareTab:
    """A tab that can fall asleep: playwright keeps its own pages visible, and a visible page is never frozen."""

    def __init__(self, browser: Any, permissions: Sequence[str] = ()) -> None:
        self._cdp = browser.new_browser_cdp_session()
        self._pump = browser.new_page()  # playwright hears the browser only while it waits for something
        self._answers: dict[int, dict[str, Any]] = {}
        self._calls = count(1)
        self._context = self._cdp.send("Target.createBrowserContext")["browserContextId"]
        self._cdp.send("Browser.grantPermissions", {"permissions": [*permissions], "browserContextId": self._context})
        self._target = self._open()
        attached = self._cdp.send("Target.attachToTarget", {"targetId": self._target, "flatten": False})
        self._session = attached["sessionId"]
        self._cdp.on("Target.receivedMessageFromTarget", self._hear)

    def goto(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"still not so: {expression}"
            self._pump.wait_for_timeout(50)

    def sleep(self) -> None:
        """Another tab comes to the front, and this one is frozen: no task of it runs any more."""
        self._cdp.send("Target.activateTarget", {"targetId": self._open()})
        self.until("document.hidden")
        self._call("Page.setWebLifecycleState", state="frozen")

    def wake(self) -> None:
        self._call("Page.setWebLifecycleState", state="active")
        self._cdp.send("Target.activateTarget", {"targetId": self._target})

    def close(self) -> None:
        self._cdp.send("Target.disposeBrowserContext", {"browserContextId": self._context})
        self._pump.close()
        self._cdp.detach()

    def _open(self) -> str:
        made = self._cdp.send("Target.createTarget", {"url": "about:blank", "browserContextId": self._context})
        return str(made["targetId"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._calls)
        message = json.dumps({"id": number, "method": method, "params": params})
        self._cdp.send("Target.sendMessageToTarget", {"sessionId": self._session, "message": message})
        deadline = time.monotonic() + 20.0
        while number not in self._answers:
            assert time.monotonic() < deadline, f"no answer to {method}"
            self._pump.wait_for_timeout(20)
        return dict(self._answers.pop(number)["result"])

    def _hear(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message


def _matters(text: str) -> bool:
    """The browser reports a refused upgrade or a 404 that the page expects and shows, and that a test reads pixels."""
    return not any(known in text for known in ("Failed to load resource", "WebSocket connection to", "getImageData"))
