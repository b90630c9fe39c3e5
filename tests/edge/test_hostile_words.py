"""Words of strangers in a browser: names, labels, events and messages are text there, and pictures are pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.edge.test_threats import polyglots
from tests.pictures import picture
from tests.server import Server, eventually, running
from tests.sockets import socket_to

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.slow]

TEMPLATES = [
    *("<script>hacked={}</script>", "<img src=x onerror=hacked={}>", "<svg onload=hacked={}>", "{{{{hacked={}}}}}"),
    *("<iframe srcdoc='<script>hacked={}'>", "'><b onmouseover=hacked={}>", '"autofocus onfocus=hacked={} x="'),
    *("javascript:hacked={}", "<a href=javascript:hacked={}>x</a>", "</textarea><script>hacked={}</script>"),
]
WORDS = [template.format(number) for number in range(10) for template in TEMPLATES]
ANALYZER = '''
"""Sees what a stranger would like to write on the page."""
from gateway import Analyzer, Box, Detection, Result, Sighting, hookimpl

WORDS = %r

class Stranger(Analyzer):
    name = "stranger"

    def analyze(self, frame, memory):
        words = WORDS[10 * (frame.seq %% 10):][:10]
        return Result(
            tuple(Detection(word, 0.9, Box(0.1, 0.1, 0.5, 0.5)) for word in words),
            {"words": float(len(words))},
            tuple(Sighting("seen", key=word, label=word, linger_s=60) for word in words),
        )

@hookimpl
def register_analyzers():
    return [Stranger]
'''


def test_a_hundred_hostile_words_are_shown_as_they_are_and_do_nothing(page: Any, tmp_path: Path) -> None:
    """The page fails at its end for a dialog, an error or a violation of its content policy."""
    (tmp_path / "stranger.py").write_text(ANALYZER % WORDS)
    settings = {"FRAMEGATE_PLUGINS": json.dumps([str(tmp_path / "stranger.py")])}
    with running(tmp_path / "home", **settings) as server:
        stream_id = server.open(name=WORDS[0], analyzers=["stranger"])
        eventually(lambda: server.show(stream_id)["analyzers"][0]["state"] == "ready")
        page.goto(f"{server.url}/viewer")
        page.get_by_text(WORDS[0]).first.wait_for()
        page.goto(f"{server.url}/viewer?stream_id={stream_id}")
        page.locator("#json summary").click()
        page.locator("#json-text", has_text="status").wait_for()  # it hears, by whatever way
        with socket_to(server, stream_id) as camera:
            for seq in range(10):
                camera.send(picture("red"))
                _analyzed(server, stream_id, seq + 1)
                camera.send(json.dumps({"type": "message", "data": WORDS[10 * seq : 10 * seq + 10]}))
            page.locator("#events li").nth(9).wait_for()
            page.locator("#json-text", has_text="hacked").wait_for()
        shown = page.locator("#events").inner_text()
        assert any(word in shown for word in WORDS)
        assert page.evaluate("window.hacked") is None
        assert (
            page.locator("main script, main img, main svg[onload], main iframe, main a[href^=javascript]").count() == 0
        )


def _analyzed(server: Server, stream_id: str, frames: int) -> None:
    eventually(lambda: server.show(stream_id)["analyzers"][0]["analyzed"] >= frames)


def test_a_picture_with_a_page_inside_is_opened_as_a_picture(browser: Any, tmp_path: Path) -> None:
    """On a page without the complaints of the others': the browser's own frame around a picture breaks our policy."""
    page, dialogs = browser.new_page(), list[str]()

    def dismiss(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    with running(tmp_path) as server:
        for image in (polyglots()[0], polyglots()[-1]):
            stream_id = server.open()
            server.push(stream_id, image)
            page.goto(f"{server.url}/stream/{stream_id}/snapshot.jpg")
            assert page.evaluate("document.contentType") == "image/jpeg"
    page.close()
    assert dialogs == []
