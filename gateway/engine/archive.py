"""Archive: pictures and clips of events as files below FRAMEGATE_HOME/media, bounded in age and in space.

One folder is one reel: the clip of a stretch of time, and a picture and a record of each event in it. A file is written
under another name, synced and renamed, so that whatever has its right name is whole. Folders go as a whole, the oldest
first. What is done to the disk is done in a thread of its own, one thing after another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

log = logging.getLogger(__name__)

CLIP = "clip.mp4"
PART, GONE = ".part", ".gone-"
BLOCK = 4096  # a file takes no less of a disk
NAME = re.compile(r"(\d{8}T\d{6})Z-([0-9a-zA-Z_]{1,64})-([0-9a-f]{8})")
EVENT_FILE = re.compile(r"([0-9a-f]{32})\.json")

T = TypeVar("T")

ClipState = Literal["open", "waiting", "ready", "failed"]


@dataclass(slots=True, eq=False)
class Reel:
    """A folder: when it began, whose it is, and what is in it. `due`: when its clip may be there (monotonic s)."""

    name: str
    stream_id: str
    began: float  # epoch s
    clip: ClipState = "open"
    due: float = 0.0
    events: dict[str, str | None] = field(default_factory=dict)  # event id -> the file of its picture, once known
    bytes: int = 0

    @property
    def busy(self) -> bool:
        """Whether something is still to come."""
        return self.clip in ("open", "waiting")


class Archive:
    """All reels, the oldest first. Touched on the event loop; only the functions below are called in its thread."""

    def __init__(self, folder: Path, *, quota: int, keep_s: float) -> None:
        self.reels: dict[str, Reel] = {}
        self.bytes = 0
        self.failures = 0
        self._folder = folder
        self._quota = quota
        self._keep_s = keep_s
        self._by_event: dict[str, Reel] = {}
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")

    def close(self) -> None:
        """Nothing is written or read any more, but for what is under way."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _threaded(self, call: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    async def load(self) -> None:
        """Take up what an earlier gateway left, without what it did not finish."""
        try:
            found, broken = await self._threaded(_found, self._folder)
        except OSError as error:
            self._failed(self._folder.name, error)
            return
        for name, problem in broken:
            self._failed(name, problem)
        there = self.reels
        self.reels = {reel.name: reel for reel in found} | there
        self._by_event = {event_id: reel for reel in self.reels.values() for event_id in reel.events}
        self.bytes = sum(reel.bytes for reel in self.reels.values())

    def begin(self, stream_id: str, now: datetime) -> Reel:
        """A new reel; its folder is made with its first file."""
        name = f"{now:%Y%m%dT%H%M%S}Z-{stream_id}-{secrets.token_hex(4)}"
        reel = self.reels[name] = Reel(name, stream_id, now.timestamp())
        return reel

    def add(self, reel: Reel, event_id: str) -> None:
        reel.events[event_id] = None
        self._by_event[event_id] = reel

    def of(self, event_id: str) -> Reel | None:
        """The reel that an event is on."""
        return self._by_event.get(event_id)

    def path(self, reel: Reel, name: str) -> Path:
        return self._folder / reel.name / name

    # --- files -------------------------------------------------------------------------------------------------------

    async def write(self, reel: Reel, name: str, data: bytes) -> bool:
        """Whether the file is on the disk now. What is too old or too much goes before."""
        async with self._turn:
            size = _blocks(len(data))
            await self._make_room(size)
            if reel.name not in self.reels or self.bytes + size > self._quota:
                return False
            try:
                self._count(reel, size - _blocks(await self._threaded(_write, self.path(reel, name), data)))
            except OSError as error:
                self._failed(name, error)
                return False
            return True

    def _count(self, reel: Reel, size: int) -> None:
        reel.bytes += size
        self.bytes += size

    def _failed(self, name: str, error: OSError) -> None:
        self.failures += 1
        log.error("media folder: %s: %s", name, error.strerror)

    async def picture(self, reel: Reel, event_id: str, jpeg: bytes, name: str, record: Mapping[str, Any]) -> bool:
        """An event's picture under this name, and its record, which names it."""
        if name not in reel.events.values() and not await self.write(reel, name, jpeg):
            return False
        text = json.dumps({"version": 1, "picture": name, **record}).encode()
        if not await self.write(reel, f"{event_id}.json", text):
            return False
        before, reel.events[event_id] = reel.events.get(event_id), name
        if before is not None and before not in reel.events.values():
            self._count(reel, -_blocks(await self._threaded(_unlink, self.path(reel, before))))
        return True

    async def read(self, reel: Reel, event_id: str) -> tuple[bytes, dict[str, Any]] | None:
        """An event's picture and its record; None if they are gone."""
        try:
            return await self._threaded(_read, self._folder / reel.name, event_id)
        except (OSError, ValueError, KeyError):
            return None

    async def expire(self) -> None:
        """Remove what is too old, what is too much, and reels that nothing was written for."""
        async with self._turn:
            await self._make_room(0)
            for reel in [reel for reel in self.reels.values() if not (reel.busy or reel.bytes)]:
                await self._remove(reel)

    async def _make_room(self, size: int) -> None:
        now = datetime.now(UTC).timestamp()
        if size > self._quota:
            return
        for reel in [reel for reel in self.reels.values() if not reel.busy]:
            if now - reel.began <= self._keep_s and self.bytes + size <= self._quota:
                break
            await self._remove(reel)

    async def _remove(self, reel: Reel) -> None:
        del self.reels[reel.name]
        self.bytes -= reel.bytes
        for event_id in reel.events:
            self._by_event.pop(event_id, None)
        try:
            await self._threaded(_remove, self._folder / reel.name)
        except OSError as error:
            self._failed(reel.name, error)


# --- in threads ------------------------------------------------------------------------------------------------------


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _found(folder: Path) -> tuple[list[Reel], list[tuple[str, OSError]]]:
    """The reels in a folder, the oldest first, and those that cannot be read. Removes what was not finished."""
    reels, broken = [], []
    with suppress(FileNotFoundError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith(GONE):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.is_dir(follow_symlinks=False) and (reel := _named(entry.name)) is not None:
                try:
                    reels.append(_filled(reel, entry.path))
                except OSError as error:
                    broken.append((entry.name, error))
    return reels, broken


def _named(name: str) -> Reel | None:
    """The reel whose folder has this name, if it is a reel's."""
    if (known := NAME.fullmatch(name)) is None:
        return None
    try:
        began = datetime.strptime(known[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # there is no such day
        return None
    return Reel(name, known[2], began.timestamp(), clip="failed")


def _filled(reel: Reel, path: str) -> Reel:
    for entry in list(os.scandir(path)):
        if entry.name.endswith(PART):
            os.unlink(entry.path)
            continue
        reel.bytes += _blocks(entry.stat(follow_symlinks=False).st_size)
        if entry.name == CLIP:
            reel.clip = "ready"
        elif known := EVENT_FILE.fullmatch(entry.name):
            reel.events[known[1]] = None
    return reel


def _write(path: Path, data: bytes) -> int:
    """Write a whole file or none; how large the one was that stood there. Readable by the gateway's user alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = path.stat().st_size if path.exists() else 0
    part = path.with_name(f".{path.name}{PART}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)
    return before


def _unlink(path: Path) -> int:
    """How large it was."""
    with suppress(OSError):
        size = path.stat().st_size
        path.unlink()
        return size
    return 0


def _sync(folder: Path) -> None:
    """A new name is on the disk once its folder is."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _read(folder: Path, event_id: str) -> tuple[bytes, dict[str, Any]]:
    record = json.loads((folder / f"{event_id}.json").read_text())
    return (folder / Path(record["picture"]).name).read_bytes(), record


def _remove(folder: Path) -> None:
    """Out of sight first, so that nobody finds half of it."""
    gone = folder.with_name(GONE + folder.name)
    with suppress(FileNotFoundError):
        folder.rename(gone)
        shutil.rmtree(gone)
