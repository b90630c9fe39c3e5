"""Clips are made by a process of their own, which may fail, hang or die; what that costs is one clip."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.engine import clips as module
from gateway.engine.archive import CLIP, Reel
from gateway.engine.clips import Clips, Job, Still
from gateway.engine.confine import VARIABLE, Confinement
from gateway.engine.hub import Hub
from gateway.engine.ring import Piece
from gateway.errors import NoClip, NotFound
from gateway.frame import Frame
from tests.doubles import settings
from tests.pictures import picture

EVENT = "e" * 32


@asynccontextmanager
async def running(folder: Path, **rules: Any) -> AsyncIterator[Clips]:
    async with Clips(settings(home=folder, clips=rules)).running() as clips:
        yield clips


class Order:
    """One clip that somebody waits for."""

    def __init__(self, clips: Clips, *jpegs: bytes, event_id: str = EVENT) -> None:
        self.over = asyncio.Event()
        self.reel: Reel = clips.begin("stream")
        clips.archive.add(self.reel, event_id)
        pieces = tuple(Piece(number / 5, jpeg) for number, jpeg in enumerate(jpegs))
        clips.submit(Job(self.reel, pieces, lambda _: self.over.set()))

    async def outcome(self) -> str:
        async with asyncio.timeout(30):
            await self.over.wait()
        return self.reel.clip


def still(reel: Reel, jpeg: bytes, seq: int = 1) -> Still:
    return Still(reel, Frame(seq, 0.0, 160, 120, jpeg), {"seq": seq})


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_a_clip_is_pending_and_then_a_file(tmp_path: Path) -> None:
    async with running(tmp_path) as clips:
        order = Order(clips, *[picture("red")] * 5)
        with pytest.raises(NoClip) as pending:
            clips.clip(EVENT)
        assert (pending.value.code, 1 <= (pending.value.retry_after_s or 0) <= 5) == ("clip_pending", True)
        assert await order.outcome() == "ready"
        assert clips.clip(EVENT).read_bytes()[4:8] == b"ftyp"
        assert (clips.made, clips.held, clips.lost) == (1, 0, {})


async def test_pictures_that_do_not_decode_are_left_out_and_a_clip_of_none_is_no_clip(tmp_path: Path) -> None:
    async with running(tmp_path) as clips:
        broken = picture("red")[:200]
        assert await Order(clips, broken, picture("red"), broken, picture("blue")).outcome() == "ready"
        assert await Order(clips, broken, broken, event_id="f" * 32).outcome() == "failed"
        with pytest.raises(NotFound) as none:
            clips.clip("f" * 32)
        assert (none.value.code, clips.lost) == ("no_clip", {"broken": 1})


def test_the_process_that_makes_clips_gets_neither_network_nor_files(tmp_path: Path) -> None:
    terms = Confinement.from_text(module._environment(settings(home=tmp_path))[VARIABLE])
    assert (terms.network, terms.files, terms.read, terms.scratch) == (False, False, (), "")


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_process_that_dies_or_hangs_costs_one_clip(tmp_path: Path, end: signal.Signals) -> None:
    async with running(tmp_path, make_s=3) as clips:
        assert await Order(clips, picture("red")).outcome() == "ready"
        assert clips._child is not None
        assert clips._child.pid is not None
        os.kill(clips._child.pid, end)
        assert await Order(clips, picture("red"), event_id="f" * 32).outcome() == "failed"
        assert await Order(clips, picture("red"), event_id="d" * 32).outcome() == "ready"
        assert (clips.made, clips.lost) == (2, {"broken": 1})


async def test_a_clip_that_a_defect_of_ours_costs_is_given_up_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BROKEN_S", 0.0)
    async with running(tmp_path) as clips:
        with monkeypatch.context() as broken:
            broken.setattr(Job, "order", lambda *_: {"do": object()})
            assert await Order(clips, picture("red")).outcome() == "failed"
        assert (clips.lost, clips.held, clips._child) == ({"broken": 1}, 0, None)
        assert await Order(clips, picture("red"), event_id="f" * 32).outcome() == "ready"


async def test_who_serves_no_clips_leaves_alone_what_a_server_keeps_in_the_same_place(tmp_path: Path) -> None:
    async with running(tmp_path) as clips:
        reel = clips.begin("stream")
        clips.archive.add(reel, EVENT)
        clips.keep(EVENT, still(reel, picture("red")))
        await until(lambda: not clips._stills)
        half = clips.archive.path(reel, f".{CLIP}.part")
        half.write_bytes(b"half")
        mine = settings(home=tmp_path, clips={"keep_s": 0.001, "quota_mb": 0.001})
        assert not Hub(mine).clips.rules.on
        async with Clips(mine, serves=False).running() as other:
            await asyncio.sleep(0.05)  # there is nothing to wait for
            assert (other.rules.on, other.describe()["disk_bytes"]) == (False, 0)
        assert half.exists()
        assert (await clips.picture(EVENT))[0] == picture("red")


async def test_without_work_there_is_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.2)
    async with running(tmp_path) as clips:
        assert clips._child is None
        assert await Order(clips, picture("red")).outcome() == "ready"
        await until(lambda: clips._child is None)
        assert await Order(clips, picture("red"), event_id="f" * 32).outcome() == "ready"


async def test_a_picture_is_there_before_it_is_written_and_the_newest_wins(tmp_path: Path) -> None:
    async with running(tmp_path) as clips:
        reel = clips.begin("stream")
        clips.archive.add(reel, EVENT)
        for seq, colour in enumerate(["red", "green", "blue"]):
            clips.keep(EVENT, still(reel, picture(colour), seq))
            assert (await clips.picture(EVENT))[0] == picture(colour)
        await until(lambda: not clips._stills)
        assert (await clips.picture(EVENT))[0] == picture("blue")
        assert sorted(path.name for path in clips.archive.path(reel, CLIP).parent.iterdir()) == [
            "2.jpg",
            f"{EVENT}.json",
        ]


async def test_more_pictures_than_can_wait_cost_the_oldest(tmp_path: Path) -> None:
    clips = Clips(settings(home=tmp_path))  # nobody writes
    reel = clips.begin("stream")
    for number in range(module.MOST_PICTURES + 10):
        clips.keep(str(number), still(reel, picture("red"), number))
    assert (len(clips._stills), next(iter(clips._stills)), clips.lost) == (module.MOST_PICTURES, "10", {"pictures": 10})
    large = bytes(module.MOST_BYTES // 4)
    for number in range(6):
        clips.keep(f"large {number}", still(reel, large, number))
    assert sum(len(one.frame.jpeg) for one in clips._stills.values()) <= module.MOST_BYTES


async def test_a_gateway_that_ends_finishes_what_it_has_begun(tmp_path: Path) -> None:
    async with running(tmp_path) as clips:
        assert await Order(clips, picture("red")).outcome() == "ready"  # the process is warm
        order = Order(clips, *[picture("red")] * 5, event_id="f" * 32)
        clips.keep("f" * 32, still(order.reel, picture("red")))
    assert order.reel.clip == "ready"
    later = Clips(settings(home=tmp_path))
    await later.archive.load()
    assert (await later.picture("f" * 32))[0] == picture("red")
    assert later.clip("f" * 32).stat().st_size > 0


async def test_a_disk_that_fails_costs_clips_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("in the way")
    async with running(tmp_path) as clips:
        order = Order(clips, picture("red"))
        clips.keep(EVENT, still(order.reel, picture("red")))
        assert await order.outcome() == "failed"
        await until(lambda: not clips._stills)
        assert clips.lost == {"disk": 2}
        with pytest.raises(NotFound):
            await clips.picture(EVENT)
