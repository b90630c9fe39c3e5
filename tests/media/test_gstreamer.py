"""Cameras as they are: a real RTSP server with H.264 and motion JPEG, that dies, comes back and changes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.jpeg import read_header
from gateway.media.sources import parse
from tests.media import gstreamer as server
from tests.media.pulling import free_port, pool, pull


def size(jpeg: bytes) -> tuple[int, int]:
    header = read_header(jpeg)
    return header.width, header.height


@pytest.mark.slow
async def test_h264_and_motion_jpeg_are_pulled_by_tcp_and_udp(tmp_path: Path) -> None:
    port = free_port()
    with server.gstreamer(port):
        async with pool(tmp_path, port, open_s=5, read_s=5) as running:
            h264 = parse(f"rtsp://127.0.0.1:{port}/h264")
            sources = {"h264": h264, "udp": replace(h264, udp=True), "mjpeg": replace(h264, path="/mjpeg")}
            pulled = {name: pull(running, source) for name, source in sources.items()}
            for _, watcher in pulled.values():
                await watcher.pictures(5)
            counters = {name: feed.counters for name, (feed, _) in pulled.items()}
    for name, (_, watcher) in pulled.items():
        assert watcher.states == ["connecting", "online"], name
        assert {size(jpeg) for jpeg in watcher.jpegs} == {(320, 240)}
        picture = cv2.imdecode(np.frombuffer(watcher.jpegs[-1], np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.max() > 200  # the white ball
    assert counters["mjpeg"].decoded == 0


@pytest.mark.slow
async def test_a_camera_that_dies_and_returns_is_online_again_with_the_next_attempt(tmp_path: Path) -> None:
    port = free_port()
    async with AsyncExitStack() as first, pool(tmp_path, port, open_s=5, read_s=5) as running:
        first.enter_context(server.gstreamer(port))
        _, watcher = pull(running, f"rtsp://127.0.0.1:{port}/h264")
        await watcher.pictures(3)
        await first.aclose()
        await watcher.until(lambda: watcher.states[-1] == "lost", 10)
        failed = len(watcher.tolds)
        with server.gstreamer(port):
            await watcher.until(lambda: "online" in watcher.states[failed:])
            await watcher.pictures(3)
        attempts = [told.attempts for told in watcher.tolds]
    assert attempts == sorted(attempts)
    ats = [shot.at for shot in watcher.shots]
    assert ats == sorted(ats)


@pytest.mark.slow
async def test_a_camera_may_come_back_with_another_codec_and_another_size(tmp_path: Path) -> None:
    port = free_port()
    async with pool(tmp_path, port, open_s=5, read_s=5) as running:
        _, watcher = pull(running, f"rtsp://127.0.0.1:{port}/camera")
        for path, wanted in (("/h264", (320, 240)), ("/mjpeg", (320, 240)), ("/wide", (640, 360))):
            told = len(watcher.tolds)
            with server.gstreamer(port, camera=path):
                await watcher.until(lambda told=told: "online" in watcher.states[told:], 20)  # type: ignore[misc]
                await watcher.pictures(3)
            assert size(watcher.jpegs[-1]) == wanted
            await watcher.until(lambda: watcher.states[-1] == "lost", 10)


@pytest.mark.slow
async def test_digest_lets_in_and_a_wrong_password_is_an_error_that_is_not_repeated(tmp_path: Path) -> None:
    port = free_port()
    with server.gstreamer(port, "admin", "geheim"):
        async with pool(tmp_path, port, open_s=5, read_s=5) as running:
            _, right = pull(running, f"rtsp://admin:geheim@127.0.0.1:{port}/h264")
            _, wrong = pull(running, f"rtsp://admin:canary@127.0.0.1:{port}/h264")
            await right.pictures(2)
            await wrong.until(lambda: wrong.codes)
    assert (wrong.states[-1], wrong.codes) == ("auth_failed", ["auth"])


@pytest.mark.slow
async def test_a_new_size_in_the_middle_of_a_stream_is_taken(tmp_path: Path) -> None:
    port = free_port()
    with server.gstreamer(port):
        async with pool(tmp_path, port, open_s=5, read_s=5) as running:
            _, watcher = pull(running, f"rtsp://127.0.0.1:{port}/sizes")
            await watcher.until(lambda: len({size(jpeg) for jpeg in watcher.jpegs}) == 2, 60)
    assert {size(jpeg) for jpeg in watcher.jpegs} == {(320, 240), (640, 480)}
    assert watcher.states == ["connecting", "online"]


@pytest.mark.slow
async def test_no_more_is_decoded_than_is_wished(tmp_path: Path) -> None:
    port = free_port()
    with server.gstreamer(port):
        async with pool(tmp_path, port, open_s=5, read_s=5) as running:
            slow, watcher = pull(running, f"rtsp://127.0.0.1:{port}/h264", fps=1.0)
            idle, other = pull(running, f"rtsp://127.0.0.1:{port}/h264", wanted=False)
            await watcher.pictures(6)
            await asyncio.sleep(2.5)  # the counters come with the pings
            before = slow.counters, idle.counters
            await watcher.pictures(4)
            await asyncio.sleep(2.5)
            after = slow.counters, idle.counters
    for earlier, later in zip(before, after, strict=True):
        packets, decoded = later.packets - earlier.packets, later.decoded - earlier.decoded
        assert packets > 45
        assert decoded <= packets / 15 + 2
    assert other.shots
