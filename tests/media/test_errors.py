"""Why a source gives no pictures: every reason has its own word, and none leads to an address that is not allowed."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.media.sources import parse
from tests.media.fake_rtsp import fake_camera
from tests.media.pulling import Watcher, free_port, pool, pull
from tests.server import eventually


def status(code: int, *more: str) -> bytes:
    return "\r\n".join([f"RTSP/1.0 {code} No", "CSeq: %d", *more, "", ""]).encode()


CASES = {
    "401": ({"DESCRIBE": status(401, 'WWW-Authenticate: Digest realm="x", nonce="n"')}, "auth_failed", "auth"),
    "403": ({"DESCRIBE": status(403)}, "auth_failed", "auth"),
    "404": ({"DESCRIBE": status(404)}, "lost", "not_found"),
    "454": ({"PLAY": status(454)}, "lost", "session"),
    "503": ({"DESCRIBE": status(503)}, "lost", "busy"),
    "453": ({"SETUP": status(453)}, "lost", "busy"),
    "500": ({"OPTIONS": status(500)}, "lost", "answer"),
    "mute": ({"OPTIONS": b""}, "lost", "timeout"),
    "mute at DESCRIBE": ({"DESCRIBE": b""}, "lost", "timeout"),
    "plays silence": ({}, "lost", "timeout"),
    "no RTSP": ({"OPTIONS": b"SSH-2.0-x\r\n\r\n"}, "lost", "protocol"),
    "multicast": (
        {"SETUP": status(200, "Session: 1", "Transport: RTP/AVP;multicast;destination=239.0.0.1;port=5000-5001")},
        "lost",
        "protocol",
    ),
}


async def told(home: Path, address: str, *ports: int, until: int = 1) -> Watcher:
    """What is said of a source in its first attempts."""
    async with pool(home, *ports) as running:
        feed, watcher = pull(running, address)
        await watcher.until(lambda: len(watcher.codes) >= until)
        running.close(feed)
    return watcher


@pytest.mark.slow
async def test_every_way_to_fail_has_its_word(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cameras = {case: stack.enter_context(fake_camera(None, **answers)) for case, (answers, _, _) in CASES.items()}
        async with pool(tmp_path, *(camera.port for camera in cameras.values())) as running:
            pulled = {case: pull(running, f"rtsp://127.0.0.1:{camera.port}/x") for case, camera in cameras.items()}
            for _, watcher in pulled.values():
                await watcher.until(lambda watcher=watcher: watcher.codes)  # type: ignore[misc]
    found = {case: (watcher.states[:2], watcher.codes[0]) for case, (_, watcher) in pulled.items()}
    assert found == {case: (["connecting", state], code) for case, (_, state, code) in CASES.items()}
    assert {case: camera.most_open for case, camera in cameras.items()} == dict.fromkeys(CASES, 1)


@pytest.mark.slow
async def test_a_port_where_nobody_listens_is_refused_and_tried_again_one_attempt_at_a_time(tmp_path: Path) -> None:
    port = free_port()
    watcher = await told(tmp_path, f"rtsp://127.0.0.1:{port}/x", port, until=2)
    assert [(told.state, told.code, told.attempts) for told in watcher.tolds[1:]] == [
        ("lost", "refused", 1),
        ("lost", "refused", 2),
    ]
    assert 0.5 <= (watcher.tolds[1].retry_s or 0) <= 1.5


async def test_a_wrong_password_is_tried_once_and_then_left_for_a_minute(tmp_path: Path) -> None:
    with fake_camera(DESCRIBE=status(401, 'WWW-Authenticate: Digest realm="x", nonce="n"')) as camera:
        watcher = await told(tmp_path, f"rtsp://user:canary@127.0.0.1:{camera.port}/x", camera.port)
        asked = [text for text in camera.asked if text.startswith("DESCRIBE")]
    assert ["Authorization: Digest" in text for text in asked] == [False, True]
    assert (watcher.tolds[-1].retry_s or 0) >= 60
    assert "canary" not in repr(watcher.tolds) + "".join(camera.asked)
    assert not any("127.0.0.1:" in text and f":{camera.port}/" not in text for text in camera.asked)


@pytest.mark.parametrize("place", ["127.0.0.1", "localhost", "[::1]", "127.8.9.1"])
@pytest.mark.slow
async def test_a_redirect_to_a_refused_address_is_not_followed(tmp_path: Path, place: str) -> None:
    family, host = (socket.AF_INET6, "::1") if place == "[::1]" else (socket.AF_INET, place)
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(0)
        location = f"Location: rtsp://{place}:{listener.getsockname()[1]}/x"
        with fake_camera(DESCRIBE=status(302, location)) as camera:
            watcher = await told(tmp_path, f"rtsp://127.0.0.1:{camera.port}/x", camera.port)
        assert watcher.codes == ["address"]
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_a_redirect_to_an_allowed_address_is_followed_three_times_at_most(tmp_path: Path) -> None:
    with fake_camera() as camera:
        camera.answers["DESCRIBE"] = status(301, f"Location: rtsp://127.0.0.1:{camera.port}/next")
        watcher = await told(tmp_path, f"rtsp://127.0.0.1:{camera.port}/x", camera.port)
        described = [text for text in camera.asked if text.startswith("DESCRIBE")]
    assert watcher.codes == ["redirect"]
    assert (len(described), camera.connections, camera.most_open) == (4, 4, 1)
    assert [text.split()[1].rpartition("/")[2] for text in described] == ["x", "next", "next", "next"]


@pytest.mark.parametrize("location", ["http://127.0.0.1/", "file:///etc/passwd", "rtsp://127.1/", "exec:ls"])
@pytest.mark.slow
async def test_a_redirect_to_what_is_no_rtsp_address_is_an_error(tmp_path: Path, location: str) -> None:
    with fake_camera(OPTIONS=status(302, f"Location: {location}")) as camera:
        watcher = await told(tmp_path, f"rtsp://127.0.0.1:{camera.port}/x", camera.port)
    assert watcher.codes == ["redirect"]


@pytest.mark.slow
async def test_no_packet_goes_where_the_camera_says_that_its_media_come_from(tmp_path: Path) -> None:
    """libav would send RTCP to the `source` of a SETUP answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.8.9.1", 0))
        victim.settimeout(0)
        port = victim.getsockname()[1]
        transport = f"Transport: RTP/AVP/UDP;unicast;client_port=5000-5001;server_port={port}-{port};source=127.8.9.1"
        with fake_camera(SETUP=status(200, "Session: 1", transport)) as camera:
            async with pool(tmp_path, camera.port) as running:
                source = replace(parse(f"rtsp://127.0.0.1:{camera.port}/x"), udp=True)
                _, watcher = pull(running, source)
                await watcher.until(lambda: watcher.codes)
            assert any(text.startswith("PLAY") for text in camera.asked)
        with pytest.raises(BlockingIOError):
            victim.recv(1)


@pytest.mark.slow
async def test_by_udp_only_the_cameras_own_datagrams_are_taken(tmp_path: Path) -> None:
    """From whomever else there is nobody at the port."""
    with ExitStack() as stack:
        own, stranger = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        own.bind(("127.0.0.1", 0))
        port = own.getsockname()[1]
        transport = f"Transport: RTP/AVP/UDP;unicast;client_port=5000-5001;server_port={port}-{port}"
        camera = stack.enter_context(fake_camera(SETUP=status(200, "Session: 1", transport)))
        async with pool(tmp_path, camera.port, read_s=10) as running:
            _, watcher = pull(running, replace(parse(f"rtsp://127.0.0.1:{camera.port}/x"), udp=True))
            await asyncio.to_thread(eventually, lambda: any(text.startswith("PLAY") for text in camera.asked))
            asked = next(text for text in camera.asked if text.startswith("SETUP"))
            theirs = int(asked.partition("client_port=")[2].partition("-")[0])
            assert [_taken(sender, theirs) for sender in (own, stranger)] == [True, False]
            watcher.gone = True


def _taken(sender: socket.socket, port: int) -> bool:
    """Whether somebody at this port of ours takes a datagram: Linux answers at once where nobody does."""
    sender.connect(("127.0.0.1", port))
    sender.settimeout(0.2)
    sender.send(b"x")
    try:
        sender.recv(1)
    except ConnectionRefusedError:
        return False
    except TimeoutError:
        pass
    return True


async def test_a_source_that_is_closed_while_it_waits_leaves_nothing_open(tmp_path: Path) -> None:
    with fake_camera(DESCRIBE=b"") as camera:
        async with pool(tmp_path, camera.port, open_s=60, read_s=60) as running:
            feed, watcher = pull(running, f"rtsp://127.0.0.1:{camera.port}/x")
            other, _ = pull(running, "demo:")
            await watcher.until(lambda: watcher.tolds)
            await asyncio.to_thread(eventually, lambda: camera.asked)
            running.close(feed)
            await asyncio.to_thread(eventually, lambda: camera.open == 0)  # before any deadline
            running.close(other)
