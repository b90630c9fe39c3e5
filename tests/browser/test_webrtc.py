"""Pages by WebRTC: Chromium's fake camera publishes, another page watches, and what happens when that is blocked."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.access.door import TOKEN
from tests.browser.test_publish import GONE, LOCKS, sends_on, sign_in_and_start, start
from tests.browser.test_viewer import left_of, moving_jpeg
from tests.chromium import PHONE, BareTab, opened
from tests.server import Server, eventually, running

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

NOWHERE = "198.51.100.1"  # RFC 5737: nobody answers there
SQUARE_PX = 3  # how exactly the square is found in a picture that was encoded twice


OFFER = """async () => {
  const line = new RTCPeerConnection();
  line.addTransceiver("video", { direction: "recvonly" });
  return (await line.createOffer()).sdp;
}"""


@pytest.fixture(scope="module")
def gateway(browser: Any, server: Server) -> Server:
    """Its process for WebRTC is up: on a busy machine that takes longer than a page waits."""
    page = browser.new_page()
    offer = page.evaluate(OFFER)
    page.close()
    stream = server.open()
    sdp = {"Content-Type": "application/sdp"}
    eventually(lambda: server.http.post(f"/stream/{stream}/whep", content=offer, headers=sdp).status_code == 201)
    server.http.delete(f"/stream/{stream}")
    return server


def numbers(page: Any) -> dict[str, str]:
    rows = page.locator("#numbers div").all_inner_texts()
    return {name: value for name, _, value in (row.partition("\n") for row in rows)}  # one may have no value yet


def way(page: Any, name: str) -> None:
    """Waits until pictures go or come by this way."""
    page.locator("#numbers dt", has_text=f"by {name}").wait_for()


# What the browser itself counts, of every connection that the page has made.
LINES = """{ const Line = RTCPeerConnection; globalThis.lines = [];
globalThis.RTCPeerConnection = class extends Line { constructor(...how) { super(...how); lines.push(this); } }; }"""
COUNTED = """async ([type, what]) => {
  const stats = [...(await lines.at(-1).getStats()).values()];
  return stats.find((one) => one.type === type)?.[what] ?? 0;
}"""


def sent(page: Any) -> int:
    return int(page.evaluate(COUNTED, ["outbound-rtp", "framesSent"]))


def decoded(page: Any) -> int:
    return int(page.evaluate(COUNTED, ["inbound-rtp", "framesDecoded"]))


def came(page: Any) -> int:
    return int(str(page.get_attribute("#numbers div >> nth=0", "title")).split()[0])


def refuse(page: Any, what: str, times: int = 1000, status: int = 503) -> list[str]:
    """Answer the next offers with a refusal; the offers that were made."""
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        if route.request.method == "POST" and len(asked) <= times:
            route.fulfill(status=status, content_type="application/problem+json", body='{"code": "at_capacity"}')
        else:
            route.continue_()

    page.route(re.compile(rf"/{what}$"), answer)
    return asked


def block_udp(page: Any) -> None:
    """Neither side learns an address of the other."""

    def answer(route: Any) -> None:
        if route.request.method == "DELETE":
            route.continue_()
        elif route.request.method == "PATCH":
            route.fulfill(status=204)
        else:
            found = route.fetch()
            body = re.sub(r"(a=candidate:\S+ 1 udp \d+) \S+", rf"\1 {NOWHERE}", found.text())
            route.fulfill(response=found, body=body)

    page.route(re.compile(r"/wh[ie]p(/|$)"), answer)


class Camera:
    """Posts the moving picture of the viewer's tests to a stream, 10 a second, from a thread."""

    def __init__(self, gateway: Server, stream: str) -> None:
        self._gateway = gateway
        self._stream = stream
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.taken: list[int] = []

    def _run(self) -> None:
        while not self._over.wait(0.1):
            taken = self._gateway.push(self._stream, moving_jpeg(len(self.taken) % 25))
            self.taken.append(int(taken["seq"]))

    @contextmanager
    def sending(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()


# --- there and back --------------------------------------------------------------------------------------------------


def test_a_camera_publishes_by_webrtc_and_another_page_watches_by_webrtc_with_boxes(
    phone: Any, page: Any, gateway: Server
) -> None:
    for each in (phone, page):
        each.context.add_init_script(LINES)
    stream = start(phone, gateway.url)
    way(phone, "WebRTC")
    sends_on(phone, 10)
    phone.locator("#boxes:not([data-boxes='0'])").wait_for()
    page.goto(f"{gateway.url}/viewer?stream_id={stream}")
    page.locator("#picture:not([data-boxes='0'])[data-seq]").wait_for()
    way(page, "WebRTC")
    page.locator("#numbers").get_by_text("in step").wait_for()
    eventually(lambda: gateway.show(stream)["viewers"] == 1)  # the camera's own socket is none
    eventually(lambda: numbers(phone)["viewers"] == "1")

    def counted() -> tuple[int, int, int, int]:
        return sent(phone), gateway.show(stream)["frames_in"], decoded(page), came(page)

    before = counted()
    sends_on(phone, 30)
    after = counted()
    went, arrived, seen, drawn = (b - a for a, b in zip(before, after, strict=True))
    assert abs(arrived - went) <= 4, (before, after)  # what is on its way at either end
    assert 0.5 * arrived <= seen <= arrived + 4, (before, after)  # newest wins: who is busy is shown fewer
    assert 0.5 * seen <= drawn <= seen + 4, (before, after)
    assert numbers(phone)["picture"] == f"{gateway.show(stream)['width']} × {gateway.show(stream)['height']}"
    assert phone.inner_text("#transport-text") == page.inner_text("#transport-text") == ""
    phone.get_by_role("button", name="Stop").click()
    eventually(lambda: gateway.show(stream)["publishers"] == 0, within_s=2)
    gateway.http.delete(f"/stream/{stream}")
    page.get_by_text("The stream is over: somebody ended it").wait_for()


# The number of each picture that is shown, and where it has its square, in px of the picture that was posted.
SAMPLE = """async (count) => {
  const canvas = document.querySelector("#picture"), context = canvas.getContext("2d"), found = [];
  for (let last = null; found.length < count; ) {
    await new Promise(requestAnimationFrame);
    if (canvas.dataset.seq === last) continue;
    last = canvas.dataset.seq;
    const { data, width } = context.getImageData(0, Math.round(canvas.height / 2), canvas.width, 1);
    const at = Array.from({ length: width }, (_, x) => data[4 * x]).findIndex((red) => red > 128);
    found.push([Number(last), at * 320 / width]);
  }
  return found;
}"""


# As on a bad line: pictures are shown so many ms after they came, when those after them are told of already.
LATE = "lines.at(-1).getReceivers()[0].jitterBufferTarget = 400"


@pytest.mark.slow
def test_a_picture_that_comes_as_video_has_the_number_it_was_sent_under(page: Any, gateway: Server) -> None:
    page.context.add_init_script(LINES)
    stream = gateway.open()
    with (camera := Camera(gateway, stream)).sending():
        page.goto(f"{gateway.url}/viewer?stream_id={stream}")
        page.locator("#picture[data-seq]").wait_for()
        way(page, "WebRTC")
        page.evaluate(LATE)
        samples = page.evaluate(SAMPLE, 25)
    places = {seq: left_of(n % 25) for n, seq in enumerate(camera.taken)}
    settled = samples[10:]  # the first were shown before the data channel was there, and before the delay
    off = {seq: (square, places[seq]) for seq, square in settled if abs(square - places[seq]) > SQUARE_PX}
    assert off == {}


@pytest.mark.slow
def test_size_and_camera_are_changed_while_video_goes_out(phone: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    way(phone, "WebRTC")
    eventually(lambda: gateway.show(stream)["width"] == 1280)
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_label("Size").select_option("320")
    eventually(lambda: gateway.show(stream)["width"] == 320)
    phone.get_by_label("Size").select_option("640")
    eventually(lambda: gateway.show(stream)["width"] == 640)
    phone.get_by_label("Quality").select_option("Low")
    sends_on(phone)
    way(phone, "WebRTC")


@pytest.mark.slow
def test_a_camera_that_webrtc_sees_nothing_of_goes_by_websocket(phone: Any, gateway: Server) -> None:
    """The second of the fake cameras gives pictures in a format that becomes no video."""
    stream = start(phone, gateway.url)
    way(phone, "WebRTC")
    sends_on(phone)
    phone.get_by_role("button", name="Switch camera").click()
    way(phone, "WebSocket")
    phone.locator("#note", has_text="By WebSocket: WebRTC stopped bringing pictures").wait_for()
    before = gateway.show(stream)["frames_in"]
    eventually(lambda: gateway.show(stream)["frames_in"] > before + 5)
    assert gateway.show(stream)["publishers"] == 1


@pytest.mark.slow
def test_a_page_that_is_closed_leaves_no_publisher_and_no_viewer(browser: Any, gateway: Server) -> None:
    with opened(browser, **PHONE, permissions=["camera"]) as phone, opened(browser) as page:
        stream = start(phone, gateway.url)
        sends_on(phone)
        page.goto(f"{gateway.url}/viewer?stream_id={stream}")
        page.locator("#picture[data-seq]").wait_for()
        assert gateway.show(stream)["publishers"] == 1
    eventually(lambda: (gateway.show(stream)["publishers"], gateway.show(stream)["viewers"]) == (0, 0), within_s=5)


@pytest.mark.slow
def test_the_screen_stays_on_and_a_tab_that_slept_goes_on(browser: Any, gateway: Server) -> None:
    tab = BareTab(browser, permissions=["videoCapture", "wakeLockScreen"])
    try:
        tab.goto(f"{gateway.url}/publish")
        tab.evaluate(LOCKS)
        tab.evaluate("document.querySelector('#main').click()")
        tab.until(f"{GONE} > 5")
        stream = str(tab.evaluate("document.querySelector('#link').href")).rpartition("=")[2]
        tab.until("locks.length === 1 && !locks[0].released")
        tab.sleep()
        asleep = gateway.show(stream)["frames_in"]
        tab.wake()
        eventually(lambda: gateway.show(stream)["frames_in"] > asleep + 5)
        tab.until("!locks.at(-1).released")
        tab.evaluate("document.querySelector('#main').click()")
        tab.until("locks.every(lock => lock.released)")
    finally:
        tab.close()


@pytest.mark.slow
def test_where_credentials_are_needed_the_page_and_the_link_work_by_webrtc(
    phone: Any, browser: Any, tmp_path: Path
) -> None:
    with running(tmp_path / "required", url="", FRAMEGATE_AUTH_TOKEN=TOKEN) as gateway:
        sign_in_and_start(phone, gateway.url)
        way(phone, "WebRTC")
        sends_on(phone)
        link = phone.get_attribute("#link", "href")
        with opened(browser, **PHONE) as stranger:
            stranger.goto(link)
            stranger.locator("#picture[data-seq]").wait_for()
            way(stranger, "WebRTC")


# --- what goes wrong -------------------------------------------------------------------------------------------------


def falls_back(page: Any, why: str, within_s: float, begin: Callable[[], None]) -> None:
    began = time.monotonic()
    begin()
    way(page, "WebSocket")
    assert time.monotonic() - began < within_s
    text = page.locator("#transport-text").text_content()
    assert text == f"{why}. Pictures go by WebSocket."


@pytest.mark.slow
def test_a_refused_camera_publishes_by_websocket_says_so_and_tries_again_when_asked(
    phone: Any, gateway: Server
) -> None:
    asked = refuse(phone, "whip", times=1)
    falls_back(phone, "WebRTC has no room for one more", 10, lambda: void(start(phone, gateway.url)))
    sends_on(phone)
    assert len(asked) == 1
    assert phone.inner_text("#note") == "By WebSocket: WebRTC has no room for one more"
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("button", name="Try again").last.click()
    way(phone, "WebRTC")
    sends_on(phone)
    assert len(asked) == 2
    assert phone.locator("#transport-said").is_hidden()


@pytest.mark.slow
def test_a_camera_whose_udp_is_blocked_publishes_by_websocket_within_seconds_in_its_own_place(
    phone: Any, gateway: Server
) -> None:
    stream = gateway.open(grace_s=30)
    block_udp(phone)
    why = "WebRTC found no way to the gateway; UDP may be blocked"
    falls_back(phone, why, 12, lambda: void(start(phone, gateway.url, f"?stream_id={stream}")))
    before = gateway.show(stream)["frames_in"]
    eventually(lambda: gateway.show(stream)["frames_in"] > before + 5)
    assert gateway.show(stream)["publishers"] == 1


@pytest.mark.slow
def test_a_viewer_whose_udp_is_blocked_watches_by_websocket_within_seconds(page: Any, gateway: Server) -> None:
    stream = gateway.open()
    with Camera(gateway, stream).sending():
        block_udp(page)
        why = "WebRTC found no way to the gateway; UDP may be blocked"
        falls_back(page, why, 12, lambda: page.goto(f"{gateway.url}/viewer?stream_id={stream}"))
        page.locator("#picture[data-seq]").wait_for()


@pytest.mark.slow
def test_a_viewer_that_is_refused_watches_by_websocket_at_once(page: Any, gateway: Server) -> None:
    stream = gateway.open()
    with Camera(gateway, stream).sending():
        refuse(page, "whep")
        falls_back(
            page, "WebRTC has no room for one more", 5, lambda: page.goto(f"{gateway.url}/viewer?stream_id={stream}")
        )
        page.locator("#picture[data-seq]").wait_for()


@pytest.mark.slow
def test_when_the_process_that_holds_the_connections_dies_both_pages_go_on(
    phone: Any, page: Any, tmp_path: Path
) -> None:
    with running(tmp_path / "gateway") as gateway:
        stream = start(phone, gateway.url)
        way(phone, "WebRTC")
        sends_on(phone)
        page.goto(f"{gateway.url}/viewer?stream_id={stream}")
        page.locator("#picture[data-seq]").wait_for()
        children = [child for child in gateway.children() if "media" in " ".join(child.cmdline())]
        assert children
        for child in children:
            child.kill()
        before = gateway.show(stream)["frames_in"]
        eventually(lambda: gateway.show(stream)["frames_in"] > before + 10)
        seen = came(page)
        eventually(lambda: bool(page.wait_for_timeout(100) or came(page) > seen + 5))


# --- what is remembered ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_chosen_way_is_remembered_by_both_pages(phone: Any, gateway: Server) -> None:
    phone.goto(f"{gateway.url}/publish")
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("radio", name="WebSocket").check(force=True)
    asked = refuse(phone, "wh[ie]p")
    stream = start(phone, gateway.url)
    way(phone, "WebSocket")
    assert phone.locator("#transport-said").is_hidden()
    phone.goto(f"{gateway.url}/viewer?stream_id={stream}")
    assert phone.get_by_role("radio", name="WebSocket").is_checked()
    phone.wait_for_timeout(300)
    assert asked == []


@pytest.mark.slow
def test_the_camera_page_remembers_camera_size_rate_and_analyzers(phone: Any, gateway: Server) -> None:
    start(phone, gateway.url)
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("combobox", name="Camera").select_option(label="fake_device_1")
    phone.get_by_label("Size").select_option("640")
    phone.get_by_label("Rate").select_option("5")
    phone.get_by_label("Quality").select_option("Best")
    phone.get_by_role("checkbox", name="motion").check(force=True)
    phone.get_by_role("checkbox", name="tracks").check(force=True)
    phone.get_by_role("button", name="End stream").click()
    stream = start(phone, gateway.url)
    phone.get_by_role("button", name="Settings").click()
    chosen = [phone.locator(f"#{name}").input_value() for name in ("side", "fps", "quality")]
    assert chosen == ["640", "5", "0.92"]
    assert phone.locator("#camera option:checked").inner_text() == "fake_device_1"
    assert {one["name"] for one in gateway.show(stream)["analyzers"]} >= {"motion", "tracks"}
    assert not phone.get_by_role("checkbox", name="Usual set").is_checked()


@pytest.mark.slow
def test_a_camera_that_is_not_there_any_more_is_replaced_by_another(phone: Any, gateway: Server) -> None:
    phone.context.add_init_script("localStorage.setItem('framegate.publish.choices', JSON.stringify({camera: 'gone'}))")
    start(phone, gateway.url)
    sends_on(phone)
    assert phone.locator("#camera option:checked").text_content() == "fake_device_0"


@pytest.mark.parametrize(
    "width", [1200, pytest.param(1024, marks=pytest.mark.slow), pytest.param(390, marks=pytest.mark.slow)]
)
def test_the_numbers_of_the_viewer_stand_in_whole_rows(page: Any, gateway: Server, width: int) -> None:
    stream = gateway.open()
    gateway.push(stream, moving_jpeg(0))
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{gateway.url}/viewer?stream_id={stream}")
    page.locator("#numbers div").nth(5).wait_for()
    tops = page.evaluate("[...document.querySelectorAll('#numbers div')].map(e => e.getBoundingClientRect().top)")
    assert len(tops) == 6
    assert sorted(tops.count(top) for top in set(tops)) == ([3, 3] if width < 620 else [6])
    assert page.evaluate("document.documentElement.scrollWidth") == width


def void(_: object) -> None:
    """For a lambda that is to answer nothing."""
