"""A real RTSP server behind a bad line: garbled media, and connections that end again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.media import gstreamer as server
from tests.media.bad_line import bad_line
from tests.media.pulling import Watcher, free_port, pool, pull
from tests.server import eventually

CAMERAS, WARM, ROUNDS = 10, 4, 20


def coloured(jpeg: bytes) -> float:
    """The share of a picture that has a colour: the test picture, a white ball, has none."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return float((np.ptp(picture.astype(int), axis=2) > 60).mean())


@pytest.mark.slow
async def test_what_a_garbled_line_made_of_a_picture_is_not_shown(tmp_path: Path) -> None:
    """Nor is what a decoder paints before it has a whole picture: who joins in a GOP waits for the next one."""
    port = free_port()
    with server.gstreamer(port), bad_line(port) as line:
        async with pool(tmp_path, line.port, open_s=5, read_s=5) as running:
            url = f"rtsp://127.0.0.1:{line.port}/h264"
            _, first = pull(running, url)
            await first.pictures(20)
            feed, late = pull(running, url)
            await late.pictures(10)
            line.garbled = 0.3
            async with asyncio.timeout(60):
                while feed.counters.corrupt < 10:  # noqa: ASYNC110 - counters come with the pings
                    await asyncio.sleep(0.1)
            line.garbled = 0.0
            await late.pictures(20)
    assert late.states == ["connecting", "online"]
    assert max(map(coloured, late.jpegs)) < 0.01


@pytest.mark.slow
async def test_a_path_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    port = free_port()
    with server.gstreamer(port):
        async with pool(tmp_path, port, open_s=5, read_s=5) as running:
            _, watcher = pull(running, f"rtsp://127.0.0.1:{port}/nothing")
            await watcher.until(lambda: watcher.codes)
    assert (watcher.states, watcher.codes) == (["connecting", "lost"], ["not_found"])


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_two_hundred_reconnects_leave_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    with server.gstreamer(port), bad_line(port) as line:
        async with pool(tmp_path, port, line.port, open_s=10, read_s=10, retry_max_s=1) as running:
            _, steady = pull(running, f"rtsp://127.0.0.1:{port}/own")
            await steady.pictures(1)
            watchers = [pull(running, f"rtsp://127.0.0.1:{line.port}/own", fps=5)[1] for _ in range(CAMERAS)]
            await _online(watchers, 1)
            child = psutil.Process(running.workers[0].pid)
            held: tuple[int, int, int] = (0, 0, 0)
            for number in range(WARM + ROUNDS):
                line.cut()
                await _online(watchers, number + 2)
                if number == WARM - 1:
                    await asyncio.sleep(2)  # relays of the last round end
                    held = child.num_fds(), child.num_threads(), child.memory_info().rss
            descriptors, threads, rss = held
            await asyncio.to_thread(eventually, lambda: child.num_threads() <= threads)
            await asyncio.to_thread(eventually, lambda: child.num_fds() <= descriptors)
            grown = child.memory_info().rss - rss
            assert running.restarts == 0
            assert line.connections == CAMERAS * (1 + WARM + ROUNDS)
    assert steady.states == ["connecting", "online"]
    assert {code for watcher in watchers for code in watcher.codes} == {"ended"}
    assert grown < 16 * 2**20


async def _online(watchers: Sequence[Watcher], times: int) -> None:
    for watcher in watchers:
        await watcher.until(lambda watcher=watcher: watcher.states.count("online") >= times, 60)  # type: ignore[misc]
