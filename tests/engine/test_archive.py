"""The archive: files of events on a disk that fills, ages and breaks."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.engine import archive as files
from gateway.engine.archive import BLOCK, CLIP, Archive, Reel

EVENT, OTHER = "a" * 32, "b" * 32
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def archive(folder: Path, *, quota: int = 100 * BLOCK, keep_s: float = 10**9) -> Archive:
    return Archive(folder / "media", quota=quota, keep_s=keep_s)


async def filled(to: Archive, event_id: str = EVENT, *, clip: bytes = b"clip", began: datetime = NOW) -> Reel:
    """A reel with one event, its picture and its clip."""
    reel = to.begin("stream", began)
    to.add(reel, event_id)
    assert await to.picture(reel, event_id, b"jpeg", "7.jpg", {"seq": 7})
    assert await to.write(reel, CLIP, clip)
    reel.clip = "ready"
    return reel


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_a_later_gateway_finds_what_an_earlier_one_kept(tmp_path: Path) -> None:
    reel = await filled(archive(tmp_path))
    later = archive(tmp_path)
    await later.load()
    found = later.of(EVENT)
    assert found is not None
    assert (found.name, found.stream_id, found.clip, found.began) == (reel.name, "stream", "ready", NOW.timestamp())
    assert later.path(found, CLIP).read_bytes() == b"clip"
    assert await later.read(found, EVENT) == (b"jpeg", {"version": 1, "picture": "7.jpg", "seq": 7})
    assert later.bytes == 3 * BLOCK
    assert later.of(OTHER) is None


async def test_only_the_gateways_user_can_read_them(tmp_path: Path) -> None:
    reel = await filled(archive(tmp_path))
    folder = tmp_path / "media" / reel.name
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


async def test_a_crash_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps of writing there is the old file, the new one or none."""
    first = archive(tmp_path)
    reel = await filled(first)
    for step in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(files, "_write", crashing(step))
            with pytest.raises(SystemError):
                await first.write(reel, CLIP, b"another, longer clip")
        assert first.path(reel, CLIP).read_bytes() == b"clip"
        assert any(name.endswith(files.PART) for name in names(tmp_path))
        later = archive(tmp_path)
        await later.load()
        assert names(tmp_path) == ["7.jpg", f"{EVENT}.json", CLIP]


def crashing(step: str) -> object:
    """Writing that dies as a process does, cleaning up nothing, before this step."""
    whole = files._write

    def write(path: Path, data: bytes) -> int:
        def crash(*_: object) -> None:
            raise SystemError

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, step, crash)
            return whole(path, data)

    return write


async def test_a_folder_that_was_being_removed_is_gone_after_a_crash(tmp_path: Path) -> None:
    reel = await filled(archive(tmp_path))
    folder = tmp_path / "media" / reel.name
    folder.rename(folder.with_name(files.GONE + folder.name))
    later = archive(tmp_path)
    await later.load()
    assert (later.of(EVENT), list((tmp_path / "media").iterdir())) == (None, [])


async def test_a_folder_that_cannot_be_read_or_has_an_impossible_date_costs_the_others_nothing(tmp_path: Path) -> None:
    reel = await filled(archive(tmp_path))
    media = tmp_path / "media"
    for name in ("20261341T000000Z-stream-00000000", "20261121T250000Z-stream-00000000"):
        (media / name).mkdir()
    odd = media / "20261121T115959Z-stream-00000000"
    (odd / f".{CLIP}{files.PART}").mkdir(parents=True)  # not even its user can unlink that
    later = archive(tmp_path)
    await later.load()
    assert (list(later.reels), later.bytes, later.failures) == ([reel.name], 3 * BLOCK, 1)
    await later.load()
    assert later.bytes == 3 * BLOCK


async def test_what_is_too_old_goes_at_the_start_and_later(tmp_path: Path) -> None:
    real = datetime.now(UTC)
    await filled(archive(tmp_path), EVENT, began=real - timedelta(days=8))
    await filled(archive(tmp_path), OTHER, began=real - timedelta(days=6))
    later = archive(tmp_path, keep_s=7 * 86400)
    await later.load()
    await later.expire()
    assert (later.of(EVENT), later.of(OTHER) is not None, len(later.reels)) == (None, True, 1)
    assert names(tmp_path) == ["7.jpg", f"{OTHER}.json", CLIP]


async def test_beyond_the_quota_the_oldest_go_but_not_what_is_being_made(tmp_path: Path) -> None:
    kept = archive(tmp_path, quota=10 * BLOCK)
    reels = [await filled(kept, f"{number:032x}", began=NOW + timedelta(seconds=number)) for number in range(3)]
    assert kept.bytes == 9 * BLOCK
    reels[0].clip = "waiting"
    last = await filled(kept, EVENT, began=NOW + timedelta(seconds=9))
    assert [reel.name for reel in kept.reels.values()] == [reels[0].name, reels[2].name, last.name]
    assert kept.bytes == 9 * BLOCK == sum(BLOCK for _ in names(tmp_path))
    assert not await kept.write(last, CLIP, bytes(11 * BLOCK))  # never fits, and costs nobody anything
    assert len(kept.reels) == 3


async def test_a_disk_that_takes_nothing_is_counted_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("in the way")
    broken = archive(tmp_path)
    await broken.load()
    reel = broken.begin("stream", NOW)
    broken.add(reel, EVENT)
    assert not await broken.picture(reel, EVENT, b"jpeg", "7.jpg", {})
    assert (broken.failures, broken.bytes, await broken.read(reel, EVENT)) == (2, 0, None)
    await broken.expire()
    assert broken.of(EVENT) is reel  # its clip may still come
    reel.clip = "failed"
    await broken.expire()
    assert (broken.of(EVENT), broken.reels) == (None, {})


async def test_a_better_picture_takes_the_place_of_one_that_nobody_else_has(tmp_path: Path) -> None:
    kept = archive(tmp_path)
    reel = await filled(kept)
    assert await kept.picture(reel, OTHER, b"jpeg", "7.jpg", {"seq": 7})
    assert await kept.picture(reel, EVENT, b"better", "9.jpg", {"seq": 9})
    assert names(tmp_path) == ["7.jpg", "9.jpg", f"{EVENT}.json", f"{OTHER}.json", CLIP]
    assert await kept.picture(reel, OTHER, b"better", "9.jpg", {"seq": 9})
    assert names(tmp_path) == ["9.jpg", f"{EVENT}.json", f"{OTHER}.json", CLIP]
    assert kept.bytes == 4 * BLOCK
