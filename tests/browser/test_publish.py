"""The camera page on a phone's screen, in the real Chromium with its fake cameras, against the real gateway.

Two seconds each, and there are many: those that the others nearly prove are marked slow.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from tests.access.door import TOKEN
from tests.browser.scripted import ScriptedGateway, serving
from tests.chromium import PHONE, BareTab, opened
from tests.proxy import Proxy, ProxyThread
from tests.server import Server, eventually, running

pytestmark = [pytest.mark.browser, pytest.mark.e2e]

COUNTS = re.compile(r"(\d+) pictures: (\d+) taken, (\d+) lost, (\d+) on the way")
SHADES = ((200, 30, 30), (30, 30, 200))  # BGR of the pictures of a file


BY_WEBSOCKET = "localStorage.setItem('framegate.transport', JSON.stringify({wish: 'websocket'}))"


@pytest.fixture
def gateway(server: Server) -> Server:
    return server


@pytest.fixture
def phone(phone: Any) -> Any:
    """One that counts every picture; what goes by WebRTC is in test_webrtc.py."""
    phone.context.add_init_script(BY_WEBSOCKET)
    return phone


@pytest.fixture
def cables(gateway: Server) -> Iterator[ProxyThread]:
    """The gateway behind a line that can be cut."""
    with ProxyThread(gateway.address) as thread:
        yield thread


def start(page: Any, base: str, query: str = "") -> str:
    """Publish; the id of the stream."""
    page.goto(f"{base}/publish{query}")
    page.get_by_role("button", name="Start").click()
    wait_for(page, "Live")
    return stream_of(page)


def sign_in_and_start(page: Any, base: str) -> None:
    page.goto(f"{base}/publish")
    page.locator("input[name=token]").fill(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Start").click()


def stream_of(page: Any) -> str:
    page.locator("#link[href]").wait_for()
    return str(page.get_attribute("#link", "href")).rpartition("=")[2]


def wait_for(page: Any, state: str) -> None:
    page.locator("#connection", has_text=state).wait_for()


def counts(page: Any) -> tuple[int, ...]:
    """Of the pictures sent: all, taken, lost with a line, on the way."""
    title = page.locator("#numbers div").first.get_attribute("title")
    found = COUNTS.fullmatch(title or "0 pictures: 0 taken, 0 lost, 0 on the way")
    assert found is not None, title
    return tuple(map(int, found.groups()))


GONE = """/(\\d+) (?:taken|pictures as video)/.exec(document.querySelector("#numbers div")?.title ?? "0 taken")[1]"""


def sends_on(page: Any, more: int = 5) -> None:
    """Waits until so many pictures more were taken, or sent where nobody says what was taken."""
    page.wait_for_function(f"least => {GONE} >= least", arg=int(page.evaluate(GONE)) + more)


def jpeg(shade: tuple[int, int, int], width: int = 320, height: int = 180) -> bytes:
    import cv2
    import numpy as np

    return cv2.imencode(".jpg", np.full((height, width, 3), shade, np.uint8))[1].tobytes()


def pixels(encoded: bytes) -> Any:
    import cv2
    import numpy as np

    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)


def snapshot(gateway: Server, stream_id: str) -> Any:
    return pixels(gateway.http.get(f"/stream/{stream_id}/snapshot.jpg").content)


# --- pictures from here to there -------------------------------------------------------------------------------------


def test_every_picture_of_a_phone_is_counted_at_both_ends_while_another_page_watches(
    phone: Any, page: Any, gateway: Server
) -> None:
    stream = gateway.open(analyzers=["motion"], grace_s=30)
    page.context.add_init_script(BY_WEBSOCKET)
    page.goto(f"{gateway.url}/viewer?stream_id={stream}")
    page.locator("#connection", has_text="No publisher").wait_for()
    assert start(phone, gateway.url, f"?stream_id={stream}") == stream
    phone.locator("#boxes:not([data-boxes='0'])").wait_for()  # what is seen is drawn over the preview
    phone.get_by_role("row", name="motion").get_by_text("ready").wait_for()
    sends_on(phone, 20)
    page.locator("#picture[data-seq]").wait_for()
    phone.get_by_role("button", name="Stop").click()
    wait_for(phone, "Not sending")
    eventually(lambda: gateway.show(stream)["publishers"] == 0)
    phone.wait_for_timeout(300)  # the page counts four times a second
    sent, taken, lost, on_the_way = counts(phone)
    status = gateway.show(stream)
    assert sent == taken + lost + on_the_way
    assert sent == status["frames_in"] + sum(status["dropped"].get("ingest", {}).values())
    came = page.evaluate("document.querySelector('#numbers div').title")
    assert came == f"{status['frames_in'] - sum(status['dropped'].get('viewers', {}).values())} pictures came"
    gateway.http.delete(f"/stream/{stream}")


@pytest.mark.slow
def test_the_preview_is_mirrored_and_the_picture_that_is_sent_is_not(phone: Any, gateway: Server) -> None:
    import numpy as np

    stream = start(phone, gateway.url)
    sends_on(phone)
    assert phone.get_attribute("#shot", "data-mirrored") == ""
    assert "matrix(-1" in phone.evaluate("getComputedStyle(document.querySelector('#preview')).transform")
    shot = phone.evaluate(
        """() => { const video = document.querySelector("#preview"), canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
        canvas.getContext("2d").drawImage(video, 0, 0);
        return canvas.toDataURL("image/png").split(",")[1]; }"""
    )
    seen, sent = pixels(base64.b64decode(shot)).astype(int), snapshot(gateway, stream).astype(int)
    band = slice(40, 130)  # where the fake camera writes the time, off the middle
    as_it_is = np.abs(seen[band] - sent[band]).mean()
    turned = np.abs(seen[band, ::-1] - sent[band]).mean()
    assert as_it_is < turned / 2


@pytest.mark.slow
def test_the_cameras_are_listed_and_switched_and_pictures_go_on(phone: Any, gateway: Server) -> None:
    start(phone, gateway.url)
    options = phone.locator("#camera option")
    assert options.all_text_contents() == ["fake_device_0", "fake_device_1"]
    chosen = phone.input_value("#camera")
    phone.get_by_role("button", name="Switch camera").click()
    phone.wait_for_function("chosen => document.querySelector('#camera').value !== chosen", arg=chosen)
    sends_on(phone)
    assert phone.inner_text("#connection") == "Live"


@pytest.mark.slow
def test_size_and_rate_are_what_was_chosen(phone: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_label("Size").select_option("320")
    phone.get_by_label("Rate").select_option("5")
    eventually(lambda: gateway.show(stream)["width"] == 320)
    phone.locator("#numbers").get_by_text("320 ×").wait_for()
    phone.locator("#numbers").get_by_text(re.compile(r"^[45]\.\d fps$")).wait_for()


@pytest.mark.slow
def test_analyzers_are_chosen_while_it_runs(phone: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    assert [one["name"] for one in gateway.show(stream)["analyzers"]] == ["motion"]
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("checkbox", name="motion").check(force=True)
    assert not phone.get_by_role("checkbox", name="Usual set").is_checked()
    phone.get_by_role("checkbox", name="motion").uncheck(force=True)
    eventually(lambda: gateway.show(stream)["analyzers"] == [])
    phone.get_by_label("Name").fill("Back door")
    phone.get_by_label("Name").blur()
    eventually(lambda: gateway.show(stream)["name"] == "Back door")


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pictures_are_sent_one_after_the_other_and_the_end_is_told(phone: Any, gateway: Server) -> None:
    phone.goto(f"{gateway.url}/publish")
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("radio", name="File").check(force=True)
    phone.get_by_label("Over and over").uncheck()
    files = [
        {"name": f"{n}.jpg", "mimeType": "image/jpeg", "buffer": jpeg(shade, 180, 320)}
        for n, shade in enumerate(SHADES)
    ]
    phone.get_by_label("Video or pictures").set_input_files(files)
    phone.get_by_role("button", name="Start").click()
    wait_for(phone, "Live")
    stream = stream_of(phone)
    sends_on(phone)
    first = snapshot(gateway, stream)
    assert first.shape == (320, 180, 3)
    assert abs(first.mean(axis=(0, 1)) - SHADES[0]).max() < 6
    phone.get_by_text("The file is over").wait_for()
    assert abs(snapshot(gateway, stream).mean(axis=(0, 1)) - SHADES[1]).max() < 6
    assert phone.inner_text("#connection") == "Not sending"


@pytest.mark.slow
def test_a_video_of_the_browser_is_sent_over_and_over(phone: Any, gateway: Server) -> None:
    phone.goto(f"{gateway.url}/publish")
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("radio", name="File").check(force=True)
    clip = {"name": "clip.webm", "mimeType": "video/webm", "buffer": webm(SHADES[0], seconds=1)}
    phone.get_by_label("Video or pictures").set_input_files([clip])
    phone.get_by_role("button", name="Start").click()
    wait_for(phone, "Live")
    sends_on(phone, 25)  # more than the clip has
    assert abs(snapshot(gateway, stream_of(phone)).mean(axis=(0, 1)) - SHADES[0]).max() < 12


def webm(shade: tuple[int, int, int], seconds: int) -> bytes:
    import av
    import numpy as np

    out = io.BytesIO()
    with av.open(out, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((180, 320, 3), shade, np.uint8), format="bgr24")
        for n in range(10 * seconds):
            picture.pts = n
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return out.getvalue()


@pytest.mark.slow
def test_a_file_the_browser_cannot_show_is_named(phone: Any, gateway: Server) -> None:
    phone.goto(f"{gateway.url}/publish")
    phone.get_by_role("button", name="Settings").click()
    phone.get_by_role("radio", name="File").check(force=True)
    torn = {"name": "torn.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8torn"}
    phone.get_by_label("Video or pictures").set_input_files([torn])
    phone.get_by_text("The browser cannot show this file").wait_for()
    phone.get_by_text("torn.jpg", exact=True).wait_for()


# --- sleep and bad lines ---------------------------------------------------------------------------------------------


LOCKS = """{ const ask = WakeLock.prototype.request; globalThis.locks = [];
WakeLock.prototype.request = async function (kind) {
  const lock = await ask.call(this, kind);
  locks.push(lock);
  return lock;
}; }"""
TAKEN = '(/(\\d+) taken/.exec(document.querySelector("#numbers div")?.title ?? "0 taken")[1])'


@pytest.fixture
def tab(browser: Any) -> Iterator[BareTab]:
    tab = BareTab(browser, permissions=["videoCapture", "wakeLockScreen"])
    yield tab
    tab.close()


def start_in(tab: BareTab, base: str) -> str:
    tab.goto(f"{base}/publish")
    tab.evaluate(BY_WEBSOCKET)
    tab.goto(f"{base}/publish?")
    tab.evaluate(LOCKS)
    tab.evaluate("document.querySelector('#main').click()")
    tab.until(f"{TAKEN} > 5")
    return str(tab.evaluate("document.querySelector('#link').href")).rpartition("=")[2]


@pytest.mark.slow
def test_a_tab_that_slept_goes_on_with_its_stream_and_its_screen_stays_on(tab: BareTab, gateway: Server) -> None:
    stream = start_in(tab, gateway.url)
    tab.until("locks.length === 1 && !locks[0].released")
    tab.sleep()
    eventually(lambda: gateway.show(stream)["state"] == "stale")
    asleep = gateway.show(stream)["frames_in"]
    assert gateway.show(stream)["publishers"] == 1
    tab.wake()
    eventually(lambda: gateway.show(stream)["frames_in"] > asleep + 5)
    tab.until("locks.length > 1 && !locks.at(-1).released")
    assert tab.evaluate("document.querySelector('#connection').textContent") == "Live"
    tab.evaluate("document.querySelector('#main').click()")
    tab.until("locks.every(lock => lock.released)")


@pytest.mark.slow
def test_a_tab_whose_line_was_cut_in_its_sleep_resumes(tab: BareTab, gateway: Server, cables: ProxyThread) -> None:
    stream = start_in(tab, cables.url)
    tab.sleep()
    cables.do(Proxy.cut)
    eventually(lambda: gateway.show(stream)["publishers"] == 0)
    asleep = gateway.show(stream)["frames_in"]
    cables.do(Proxy.heal)
    tab.wake()
    eventually(lambda: gateway.show(stream)["frames_in"] > asleep + 5)
    assert gateway.show(stream)["publishers"] == 1


def test_a_cut_line_is_told_and_healed_without_a_new_stream_and_no_picture_goes_uncounted(
    phone: Any, gateway: Server, cables: ProxyThread
) -> None:
    stream = start(phone, cables.url)
    sends_on(phone)
    cables.do(Proxy.cut)
    phone.get_by_text("The connection broke").wait_for()
    wait_for(phone, "Reconnecting")
    cables.do(Proxy.heal)
    wait_for(phone, "Live")
    sends_on(phone)
    phone.get_by_role("button", name="Stop").click()
    eventually(lambda: gateway.show(stream)["publishers"] == 0)
    phone.wait_for_timeout(300)
    sent, taken, lost, on_the_way = counts(phone)
    assert sent == taken + lost + on_the_way
    assert sent - lost == gateway.show(stream)["frames_in"]


@pytest.mark.slow
def test_a_line_that_died_without_a_word_is_noticed_when_the_network_changes(
    phone: Any, gateway: Server, cables: ProxyThread
) -> None:
    stream = start(phone, cables.url)
    sends_on(phone)
    cables.do(Proxy.vanish)
    phone.context.set_offline(True)
    cables.do(Proxy.reset)  # what the old network carried is gone for good
    cables.do(Proxy.heal)
    phone.context.set_offline(False)
    sends_on(phone)
    assert gateway.show(stream)["state"] == "live"


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_denied_camera_is_explained_and_tried_again(browser: Any, gateway: Server) -> None:
    with opened(browser, **PHONE) as page:
        page.goto(f"{gateway.url}/publish")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("The browser does not let this page use the camera").wait_for()
        assert page.inner_text("#connection") == "Not sending"
        assert not page.locator("#link[href]").count()
        page.context.grant_permissions(["camera"])
        page.get_by_role("button", name="Try again").click()
        wait_for(page, "Live")


@pytest.mark.slow
def test_a_page_without_https_says_what_to_do_and_sends_files_all_the_same(phone: Any) -> None:
    with serving(ScriptedGateway(door=quiet)) as base:
        base = base.replace("127.0.0.1", "camera.test")
        phone.goto(f"{base}/publish")
        phone.get_by_text("The camera needs HTTPS").wait_for()
        phone.get_by_text("framegate serve --tls").wait_for()
        with phone.expect_file_chooser() as chooser:
            phone.get_by_role("button", name="Choose a file").click()
        chooser.value.set_files([{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg(SHADES[0])}])
        phone.get_by_role("button", name="Start").click()
        wait_for(phone, "Live")


@pytest.mark.slow
def test_a_second_camera_is_told_so_and_may_follow_the_first(phone: Any, browser: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    sends_on(phone)
    with opened(browser, **PHONE, permissions=["camera"]) as second:
        second.goto(f"{gateway.url}/publish?stream_id={stream}")
        second.get_by_role("button", name="Start").click()
        second.get_by_text("Another camera publishes to this stream").wait_for()
        assert second.inner_text("#connection") == "Ended"
        sends_on(phone)
        phone.get_by_role("button", name="Stop").click()
        eventually(lambda: gateway.show(stream)["publishers"] == 0)
        second.get_by_role("button", name="Try again").click()
        wait_for(second, "Live")
        sends_on(second)


@pytest.mark.slow
def test_a_reloaded_page_takes_its_own_place_again(phone: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    sends_on(phone)
    phone.reload()
    phone.get_by_role("button", name="Start").click()
    wait_for(phone, "Live")
    sends_on(phone)
    assert stream_of(phone) == stream


@pytest.mark.slow
def test_a_stream_that_somebody_ended_is_over_and_start_opens_another(phone: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    gateway.http.delete(f"/stream/{stream}")
    phone.get_by_text("Somebody ended the stream").wait_for()
    phone.get_by_role("button", name="Start").click()
    wait_for(phone, "Live")
    sends_on(phone)
    assert stream_of(phone) != stream


@pytest.mark.slow
def test_end_stream_ends_it_for_everybody(phone: Any, gateway: Server) -> None:
    stream = start(phone, gateway.url)
    phone.get_by_role("button", name="End stream").click()
    wait_for(phone, "Not sending")
    eventually(lambda: gateway.http.get(f"/stream/{stream}").json().get("reason") == "deleted")
    phone.get_by_text("The link to watch appears here").wait_for()


async def quiet(peer: WebSocket) -> None:
    await asyncio.sleep(60)


@pytest.mark.slow
def test_a_full_gateway_counts_down_and_lets_it_in_later(phone: Any) -> None:
    gateway = ScriptedGateway(door=quiet)
    gateway.requests = [JSONResponse({"code": "at_capacity"}, 503, {"Retry-After": "2"})]
    with serving(gateway) as base:
        phone.goto(f"{base}/publish")
        phone.get_by_role("button", name="Start").click()
        phone.get_by_text("The gateway is full").wait_for()
        phone.get_by_text("Trying again in 2 s").wait_for()
        phone.get_by_text("Trying again in 1 s").wait_for()
        wait_for(phone, "Live")


@pytest.mark.slow
def test_a_restarted_gateway_gets_a_new_stream_and_the_page_says_so(phone: Any) -> None:
    async def leaving(peer: WebSocket) -> None:
        await peer.send_json({"type": "bye", "reason": "shutdown", "retry_ms": 300})
        scripted.ended["old"] = "shutdown"
        scripted.scripts = {"new": quiet, "old": leaving}
        await peer.close(1012)

    scripted = ScriptedGateway(old=leaving)
    with serving(scripted) as base:
        phone.goto(f"{base}/publish")
        phone.get_by_role("button", name="Start").click()
        phone.get_by_text("The stream was lost; this is a new one").wait_for()
        assert stream_of(phone) == "new"


@pytest.mark.slow
def test_where_credentials_are_needed_who_signed_in_publishes_and_who_has_the_link_watches(
    phone: Any, browser: Any, tmp_path: Path
) -> None:
    with running(tmp_path / "required", url="", FRAMEGATE_AUTH_TOKEN=TOKEN) as gateway:
        sign_in_and_start(phone, gateway.url)
        wait_for(phone, "Live")
        sends_on(phone)
        link = phone.get_attribute("#link", "href")
        assert link.startswith(f"{gateway.url}/viewer/fgv_")
        phone.locator("#qr").wait_for()
        with opened(browser, **PHONE) as stranger:
            stranger.goto(link)
            stranger.locator("#picture[data-seq]").wait_for()
            assert "fgv_" not in stranger.url
            assert stranger.goto(f"{gateway.url}/stream").status == 403
        assert link.rpartition("/")[2] not in gateway.log


# --- sharing, and hands, eyes and ears -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_qr_code_and_the_copied_link_are_the_link(browser: Any, gateway: Server, tmp_path: Path) -> None:
    import cv2

    permissions = ["camera", "clipboard-read", "clipboard-write"]
    with opened(browser, **PHONE, permissions=permissions) as page:
        stream = start(page, gateway.url)
        page.locator("#qr").wait_for()
        link = page.get_attribute("#link", "href")
        assert link == f"{gateway.url}/viewer?stream_id={stream}"
        page.locator("#qr").screenshot(path=str(tmp_path / "qr.png"))
        assert cv2.QRCodeDetector().detectAndDecode(pixels((tmp_path / "qr.png").read_bytes()))[0] == link
        page.get_by_role("button", name="Copy link").click()
        page.get_by_text("Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == link


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(390, 844), (844, 390), (320, 568), (1280, 800)])
def test_start_is_in_reach_on_every_screen_and_nothing_sticks_out(
    phone: Any, gateway: Server, width: int, height: int
) -> None:
    phone.set_viewport_size({"width": width, "height": height})
    phone.goto(f"{gateway.url}/publish")
    phone.evaluate("document.querySelector('#settings').open = true")
    assert phone.evaluate("document.documentElement.scrollWidth") == width
    box = phone.locator("#main").bounding_box()
    assert box["y"] + box["height"] <= height
    assert min(box["width"], box["height"]) >= 44
    small = phone.evaluate(
        """[...document.querySelectorAll("button, select, input:not([type=checkbox], [type=radio])")]
        .filter(e => e.offsetParent && e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"""
    )
    assert small == []


@pytest.mark.slow
def test_the_keyboard_alone_starts_and_stops(phone: Any, gateway: Server) -> None:
    phone.goto(f"{gateway.url}/publish")
    phone.keyboard.press("Space")
    wait_for(phone, "Live")
    phone.keyboard.press("Space")
    wait_for(phone, "Not sending")
    phone.get_by_role("button", name="Start").focus()
    phone.keyboard.press("Enter")
    wait_for(phone, "Live")


@pytest.mark.slow
def test_every_control_of_the_camera_page_has_a_name(phone: Any, gateway: Server) -> None:
    start(phone, gateway.url)
    phone.evaluate("document.querySelector('#settings').open = true")
    for role in ("button", "textbox", "combobox", "radio", "checkbox", "link", "img", "group"):
        for element in phone.get_by_role(role).all():
            name = element.evaluate(
                "(e) => [e.ariaLabel, e.alt, e.innerText, e.labels?.[0]?.textContent].find(Boolean) ?? ''"
            )
            assert name.strip(), element.evaluate("(e) => e.outerHTML")


@pytest.mark.slow
def test_the_page_keeps_nothing_of_the_pictures_it_sent(phone: Any, gateway: Server) -> None:
    start(phone, gateway.url)
    session = phone.context.new_cdp_session(phone)

    def heap() -> int:
        session.send("HeapProfiler.collectGarbage")
        return int(session.send("Runtime.getHeapUsage")["usedSize"])

    sends_on(phone, 50)
    before = heap()
    for _ in range(6):
        sends_on(phone, 50)
    grown = heap() - before
    assert grown < 500_000, f"{grown} bytes after 300 pictures"
