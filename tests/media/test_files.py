"""Files are pulled at their own rate, once or again and again; the drawn yard as fast as it is wished."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import av
import pytest

from gateway.media.messages import Gone, Open, Report, Setup, Told, Wish
from gateway.media.pull import Pull
from gateway.media.sources import parse
from tests.media.pulling import pool, pull


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second at 10 fps, with B-frames as phones make them."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"g": "5", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(10):
            for packet in stream.encode(av.VideoFrame(160, 120, "yuv420p")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


@pytest.mark.slow
async def test_a_file_comes_at_its_own_rate_whole_and_ends(tmp_path: Path, clip: Path) -> None:
    async with pool(tmp_path) as running:
        _, watcher = pull(running, f"file://{clip}", fps=100)
        await watcher.pictures(1)
        began = time.monotonic()
        await watcher.until(lambda: "ended" in watcher.states)
        took = time.monotonic() - began
    assert watcher.states == ["connecting", "online", "ended"]
    assert len(watcher.shots) == 10
    assert took > 0.6
    assert {shot.captured_us for shot in watcher.shots} == {None}


@pytest.mark.slow
async def test_a_file_that_loops_begins_anew_and_its_time_goes_on(tmp_path: Path, clip: Path) -> None:
    async with pool(tmp_path) as running:
        _, watcher = pull(running, replace(parse(f"file://{clip}"), loop=True), fps=100)
        await watcher.pictures(25)
    assert watcher.states == ["connecting", "online"]
    ats = [shot.at for shot in watcher.shots]
    assert ats == sorted(ats)
    assert ats[-1] > 1.5


@pytest.mark.parametrize("text", ["", "no video at all", "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n"])
@pytest.mark.slow
async def test_what_is_no_video_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.mp4"
    path.write_text(text)
    async with pool(tmp_path) as running:
        _, watcher = pull(running, f"file://{path}")
        await watcher.until(lambda: watcher.codes)
    assert watcher.codes[0] == "file"


@pytest.mark.parametrize("loop", [True, False])
def test_a_file_without_a_picture_is_an_error_and_can_be_closed(clip: Path, loop: bool) -> None:
    data = clip.read_bytes()
    begin = data.index(b"mdat") + 4
    size = int.from_bytes(data[begin - 8 : begin - 4], "big") - 8
    clip.write_bytes(data[:begin] + bytes(size) + data[begin + size :])
    told: SimpleQueue[Report] = SimpleQueue()
    source = replace(parse(f"file://{clip}"), loop=loop)
    pull = Pull(Open(1, source, Wish(1)), Setup(), lambda said, _: told.put(said))
    pull.start()
    heard = [told.get(timeout=30) for _ in range(2)]
    pull.close()
    assert [(each.state, each.code) for each in heard if isinstance(each, Told)] == [
        ("connecting", None),
        ("lost", "file"),
    ]
    assert told.get(timeout=30) == Gone(1)


async def test_a_pipe_is_no_file_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with pool(tmp_path) as running:
        _, watcher = pull(running, f"file://{tmp_path}/pipe")
        await watcher.until(lambda: watcher.codes)
    assert watcher.codes[0] == "file"


@pytest.mark.slow
async def test_the_drawn_yard_comes_as_fast_as_it_is_wished(tmp_path: Path) -> None:
    async with pool(tmp_path) as running:
        _, watcher = pull(running, "demo:", fps=5)
        await watcher.pictures(1)
        began = time.monotonic()
        await watcher.pictures(5)
        took = time.monotonic() - began
    assert 0.5 < took < 4.0  # a second, on two cores with other tests on them; unbridled, five take a fifth of one
