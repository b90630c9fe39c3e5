"""The viewer page in the real Chromium: against a scripted gateway for its rules, and once against the real one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.websockets import WebSocket

from gateway.protocol import pack_frame
from tests.browser.scripted import Script, ScriptedGateway, serving

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

WIDTH, HEIGHT, SQUARE, MARGIN = 320, 180, 40, 10  # px of the moving picture
LATE = 4  # frames by which results come after their picture
STEP_S = 0.04


@cache
def moving_jpeg(seq: int) -> bytes:
    """A white square on black; how far right it is says which picture this is."""
    import cv2
    import numpy as np

    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x = left_of(seq)
    picture[70 : 70 + SQUARE, x : x + SQUARE] = 255
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def left_of(seq: int) -> int:
    return 20 + (seq * 9) % 240


def box_of(seq: int) -> list[float]:
    """Around the square with a margin, so that both can be told apart in the drawn picture."""
    x = left_of(seq)
    return [
        (x - MARGIN) / WIDTH,
        (70 - MARGIN) / HEIGHT,
        (x + SQUARE + MARGIN) / WIDTH,
        (70 + SQUARE + MARGIN) / HEIGHT,
    ]


def result(seq: int, *, name: str = "objects", label: str = "square", **more: Any) -> dict[str, Any]:
    seen = {"label": label, "score": 0.9, "box": box_of(seq), "track_id": 1}
    outcome = {"version": "1", "state": "ready", "latency_ms": 20, "age_ms": 160, "detections": [seen], "measures": {}}
    return {
        "type": "result",
        "schema": "1.0",
        "stream_id": "door",
        "camera_id": None,
        "seq": seq,
        "captured_at": None,
        "received_at": "2026-11-21T06:49:09.140Z",
        "width": WIDTH,
        "height": HEIGHT,
        "analyzers": {name: {**outcome, **more}},
        "dropped": {"ingest": {}, "analysis": {"replaced": 7}, "viewers": {}},
    }


def event(event_id: str, phase: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "event",
        "id": event_id,
        "phase": phase,
        "event_type": "smoking",
        "stream_id": "door",
        "camera_id": None,
        "severity": "warning",
        "label": "cigarette",
        "score": 0.7,
        "started_at": "2026-11-21T06:49:09.000Z",
        "ended_at": None,
        "zones": [],
        "seq": 1,
        "snapshot_url": "/stream/door/snapshot.jpg",
        **more,
    }


async def forever(peer: WebSocket) -> None:
    await asyncio.sleep(60)


def sending(*messages: dict[str, Any]) -> Script:
    """One picture and these messages, then silence."""

    async def script(peer: WebSocket) -> None:
        await peer.send_bytes(pack_frame(moving_jpeg(0), 0))
        for message in messages:
            await peer.send_json(message)
        await forever(peer)

    return script


def moving(*results_of: Callable[[int], dict[str, Any] | None]) -> Script:
    """The moving picture; each of `results_of` gives the result sent after picture `seq`, if any."""

    async def script(peer: WebSocket) -> None:
        for seq in range(10_000):
            await peer.send_bytes(pack_frame(moving_jpeg(seq % 80), seq))
            for result_of in results_of:
                if (message := result_of(seq)) is not None:
                    await peer.send_json(message)
            await asyncio.sleep(STEP_S)

    return script


def late(seq: int) -> dict[str, Any] | None:
    """Results of every second picture, some pictures late, with the box the picture itself had."""
    seen = seq - LATE
    return {**result(seen % 80), "seq": seen} if seen >= 0 and seen % 2 == 0 else None


def quick(seq: int) -> dict[str, Any] | None:
    """Another analyzer that sees every picture at once and finds nothing in it."""
    return result(seq, name="motion", detections=[])


# Where, in px of the original picture, the drawn picture has its square and its box, once for each new picture.
SAMPLE = """async (count) => {
  const canvas = document.querySelector("#picture");
  const context = canvas.getContext("2d");
  const found = [];
  let last = null;
  while (found.length < count) {
    await new Promise(requestAnimationFrame);
    if (canvas.dataset.seq === last) continue;
    last = canvas.dataset.seq;
    const { data, width } = context.getImageData(0, Math.round(canvas.height / 2), canvas.width, 1);
    let square = null, box = null;
    for (let x = 0; x < width; x += 1) {
      const [r, g, b] = data.slice(4 * x, 4 * x + 3);
      if (square === null && r > 230 && g > 230 && b > 230) square = x * 320 / width;
      if (box === null && r < 130 && g > 200 && b > 170) box = x * 320 / width;
    }
    found.push({ seq: Number(last), square, box });
  }
  return found;
}"""


def open_viewer(page: Any, base: str, query: str = "?stream_id=door") -> None:
    page.goto(f"{base}/viewer{query}")


def wait_for_picture(page: Any) -> None:
    page.locator("#picture[data-seq]").wait_for()


# --- pictures and boxes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_boxes_are_drawn_on_the_very_picture_they_belong_to(page: Any) -> None:
    with serving(ScriptedGateway(door=moving(late, quick))) as base:
        open_viewer(page, base)
        page.locator("#picture[data-boxes='1']").wait_for()
        samples = page.evaluate(SAMPLE, 15)
    assert all(sample["seq"] % 2 == 0 for sample in samples)
    off = [sample["square"] - sample["box"] - MARGIN for sample in samples]
    assert max(map(abs, off)) < 3, samples


@pytest.mark.slow
def test_smooth_shows_every_picture_with_the_newest_boxes_and_their_age(page: Any) -> None:
    with serving(ScriptedGateway(door=moving(late))) as base:
        open_viewer(page, base)
        page.get_by_label("Smooth").check(force=True)
        page.get_by_text(re.compile(r"\d+ ms old")).wait_for()
        samples = page.evaluate(SAMPLE, 15)
    assert any(sample["seq"] % 2 for sample in samples)
    assert all(sample["box"] is not None for sample in samples)


@pytest.mark.parametrize("analyzers", [{}, {"smoking": {"state": "loading"}}])
def test_pictures_are_shown_plain_while_no_analyzer_reports(page: Any, analyzers: dict[str, Any]) -> None:
    with serving(ScriptedGateway(door=moving(lambda seq: {**result(seq), "analyzers": analyzers}))) as base:
        open_viewer(page, base)
        wait_for_picture(page)
        assert [sample["box"] for sample in page.evaluate(SAMPLE, 5)] == [None] * 5


@pytest.mark.slow
def test_pictures_go_on_plain_when_the_analyzers_fall_silent(page: Any) -> None:
    with serving(ScriptedGateway(door=moving(lambda seq: result(seq) if seq < 20 else None))) as base:
        open_viewer(page, base)
        wait_for_picture(page)
        page.get_by_text("in step").first.wait_for()
        page.locator("#numbers").get_by_text("none").wait_for()
        before, *_, after = page.evaluate(SAMPLE, 5)
        assert before["seq"] < after["seq"]


# --- choosing and leaving --------------------------------------------------------------------------------------------


def test_watch_stream_starts_the_stream_named_in_the_field(page: Any) -> None:
    with serving(ScriptedGateway(door=moving())) as base:
        open_viewer(page, base, "")
        page.get_by_label("Stream id").fill("door")
        page.get_by_role("button", name="Watch Stream").click()
        wait_for_picture(page)
        assert page.url == f"{base}/viewer?stream_id=door"
        assert page.inner_text("#connection") == "Live"


def test_live_streams_are_offered_and_stop_leads_back_to_them(page: Any) -> None:
    with serving(ScriptedGateway(door=moving(), gate=forever)) as base:
        open_viewer(page, base, "")
        page.get_by_role("list", name="Live streams").get_by_role("button", name="door").click()
        wait_for_picture(page)
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("list", name="Live streams").get_by_role("button", name="gate").wait_for()
        assert page.url == f"{base}/viewer"


def test_the_page_works_below_a_prefix(page: Any) -> None:
    with serving(ScriptedGateway(door=moving())) as base:
        open_viewer(page, f"{base}/prefix")
        wait_for_picture(page)


def test_the_viewer_asks_for_binary_pictures(page: Any) -> None:
    gateway = ScriptedGateway(door=moving())
    with serving(gateway) as base:
        open_viewer(page, base)
        wait_for_picture(page)
    assert gateway.heard[0] == {"type": "subscribe", "frames": "binary"}


# --- connection ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_restart_is_survived_and_told(page: Any) -> None:
    async def restarting(peer: WebSocket) -> None:
        if gateway.sockets == 1:
            await peer.send_json({"type": "bye", "reason": "shutdown", "retry_ms": 1500})
            await peer.close(1012)
        else:
            await moving()(peer)

    gateway = ScriptedGateway(door=restarting)
    with serving(gateway) as base:
        open_viewer(page, base)
        page.get_by_text("Connection lost: the gateway restarts. Trying again in").wait_for()
        wait_for_picture(page)
        assert page.inner_text("#connection") == "Live"


def test_retry_now_does_not_wait(page: Any) -> None:
    async def once(peer: WebSocket) -> None:
        if gateway.sockets == 1:
            await peer.send_json({"type": "bye", "reason": "shutdown", "retry_ms": 600_000})
            await peer.close(1012)
        else:
            await moving()(peer)

    gateway = ScriptedGateway(door=once)
    with serving(gateway) as base:
        open_viewer(page, base)
        page.get_by_role("button", name="Retry now").click()
        wait_for_picture(page)


def test_the_end_of_a_stream_is_shown_with_its_reason(page: Any) -> None:
    async def ending(peer: WebSocket) -> None:
        gateway.ended["door"] = "lease_expired"
        await peer.close(4404)

    gateway = ScriptedGateway(door=ending)
    with serving(gateway) as base:
        open_viewer(page, base)
        page.get_by_text("The stream is over: lease expired").wait_for()
        assert page.inner_text("#connection") == "Ended"
    assert gateway.sockets == 1


def test_an_unknown_stream_is_called_unknown(page: Any) -> None:
    with serving(ScriptedGateway()) as base:
        open_viewer(page, base)
        page.get_by_text("there is no such stream").wait_for()


# --- panels ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_analyzers_are_listed_with_their_state_and_what_they_see(page: Any) -> None:
    states = {"smoking": {"state": "loading"}, "bags": {"state": "failed", "reason": "no weights"}}
    message = result(0, measures={"count": 1})
    with serving(ScriptedGateway(door=sending({**message, "analyzers": {**message["analyzers"], **states}}))) as base:
        open_viewer(page, base)
        page.get_by_role("row", name="bags").wait_for()
        rows = [row.inner_text().split("\t") for row in page.locator("#analyzers tbody tr").all()]
    assert rows == [
        ["objects", "ready", "20 ms", "160 ms", "square 0.90 #1", "count 1"],
        ["smoking", "loading", "–", "–", "–", "–"],
        ["bags", "failed", "–", "–", "no weights", "–"],
    ]


def test_an_event_is_one_line_from_new_to_end(page: Any) -> None:
    messages = [
        event("a", "new"),
        event("b", "new", severity="critical", event_type="abandoned", label="suitcase"),
        event("a", "end", score=0.83, ended_at="2026-11-21T06:49:12.500Z", zones=["gate"]),
    ]
    with serving(ScriptedGateway(door=sending(*messages))) as base:
        open_viewer(page, base)
        page.locator("#events li[data-phase=end]").wait_for()
        lines = page.locator("#events li")
        assert [line.get_attribute("data-id") for line in lines.all()] == ["b", "a"]
        assert lines.nth(1).locator(".facts").inner_text().split() == [
            "warning",
            "score",
            "0.83",
            "3.5",
            "s",
            "in",
            "gate",
        ]
        assert lines.nth(1).get_by_role("link").get_attribute("href") == f"{base}/stream/door/snapshot.jpg"


@pytest.mark.slow
def test_labels_are_text_and_never_markup(page: Any) -> None:
    hostile = "<img src=x onerror=alert(1)><b>bold</b>"
    messages = [
        {**result(0, label=hostile), "analyzers": {hostile: result(0, label=hostile)["analyzers"]["objects"]}},
        event("a", "new", label=hostile, event_type=hostile, zones=[hostile], snapshot_url="javascript:alert(1)"),
    ]
    with serving(ScriptedGateway(door=sending(*messages))) as base:
        open_viewer(page, base)
        page.locator("#json summary").click()
        page.locator("#json-text", has_text="onerror").wait_for()
        page.locator("#events li").wait_for()
        assert hostile in page.locator("#analyzers tbody th").inner_text()
        assert page.locator("main img, main b, #events a").count() == 0


@pytest.mark.slow
def test_messages_can_be_paused_and_copied(page: Any) -> None:
    with serving(ScriptedGateway(door=moving(late))) as base:
        open_viewer(page, base)
        page.locator("#json summary").click()
        page.locator("#json-text", has_text="square").wait_for()
        page.get_by_role("button", name="Pause").click()
        before = page.locator("#json-text").inner_text()
        page.get_by_role("button", name="Copy").click()
        page.get_by_text("Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert page.locator("#json-text").inner_text() == before
    assert {"hello", "result"} >= {json.loads(line)["type"] for line in copied.splitlines()}


# --- people ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_sticks_out_of_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    messages = [result(0), event("a", "new", label="x" * 64, zones=["z" * 48])]
    with serving(ScriptedGateway(door=sending(*messages))) as base:
        open_viewer(page, base)
        page.locator("#events li").wait_for()
        page.locator("#analyzers tbody tr").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_keyboard_alone_chooses_a_stream(page: Any) -> None:
    with serving(ScriptedGateway(door=moving())) as base:
        open_viewer(page, base, "")
        page.get_by_role("list", name="Live streams").get_by_role("button").wait_for()
        for _ in range(4):  # the name of the page, the field, its button, the stream
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        wait_for_picture(page)


@pytest.mark.slow
def test_every_control_has_a_name(page: Any) -> None:
    with serving(ScriptedGateway(door=sending(result(0)))) as base:
        open_viewer(page, base)
        page.locator("#analyzers tbody tr").wait_for()
        for role in ("button", "textbox", "combobox", "radio", "link", "img"):
            for element in page.get_by_role(role).all():
                name = (
                    element.get_attribute("aria-label")
                    or element.inner_text()
                    or element.evaluate("(e) => e.labels?.[0]?.textContent ?? ''")
                )
                assert name.strip(), element.evaluate("(e) => e.outerHTML")


# --- the real gateway ------------------------------------------------------------------------------------------------


@contextmanager
def real_gateway(home: Path) -> Iterator[str]:
    """`framegate serve` as a process of its own, on a free port; its address while it runs."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, "FRAMEGATE_HOME": str(home)}
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=home) as server:
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(15)


def wait_until_healthy(url: str) -> None:
    with httpx2.Client() as client:
        for _ in range(200):
            try:
                if client.get(url).is_success:
                    return
            except httpx2.TransportError:
                time.sleep(0.1)
    pytest.fail(f"no gateway answers at {url}")


# Publishes the moving picture from the page itself, with the client the gateway serves.
PUBLISH = """async ({ base, id }) => {
  const { Framegate } = await import(`${base}/client/framegate.js`);
  const camera = new Framegate(base).publish(id);
  const canvas = new OffscreenCanvas(320, 180);
  const context = canvas.getContext("2d");
  let turn = 0;
  setInterval(async () => {
    if (!camera.ready) return;
    context.fillStyle = "#000";
    context.fillRect(0, 0, 320, 180);
    context.fillStyle = "#fff";
    context.fillRect((turn++ * 9) % 280, 70, 40, 40);
    camera.send(await canvas.convertToBlob({ type: "image/jpeg" }));
  }, 50);
  globalThis.camera = camera;
}"""


@pytest.mark.slow
def test_a_page_publishes_and_another_watches_through_the_real_gateway(page: Any, tmp_path: Path) -> None:
    with real_gateway(tmp_path) as base:
        stream = httpx2.post(f"{base}/stream/request", json={"analyzers": ["motion"], "grace_s": 0}).json()
        publisher = page.context.new_page()
        publisher.goto(f"{base}/viewer")
        publisher.evaluate(PUBLISH, {"base": base, "id": stream["stream_id"]})
        page.goto(base + stream["viewer_url"])
        wait_for_picture(page)
        page.get_by_role("row", name="motion").get_by_text("ready").wait_for()
        page.locator("#numbers").get_by_text("in step").wait_for()
        sent, dropped = publisher.evaluate("[camera.sent, camera.dropped.credits]")
        assert sent > 0
        assert dropped == 0
        httpx2.delete(f"{base}/stream/{stream['stream_id']}")
        page.get_by_text("The stream is over: somebody ended it").wait_for()
        assert publisher.evaluate("camera.ended") == "deleted"
