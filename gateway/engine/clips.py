"""Clips: pictures and MP4s of events, for all sessions of a gateway. Touched only on the event loop.

Sessions hand over what is to be kept (`keep`, `submit`), which never waits. Pictures are written one by one, the newest
of an event winning; clips are made one by one in a process of their own, and who asks for too many loses the oldest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.engine.archive import CLIP, Archive, ClipState, Reel
from gateway.engine.confine import VARIABLE, Confinement
from gateway.engine.environment import worker_environment
from gateway.engine.mailbox import Bell, Mailbox
from gateway.engine.process import ChildProcess, WorkerDied
from gateway.errors import NoClip, NotFound
from gateway.frame import Frame

if TYPE_CHECKING:
    from gateway.engine.recorder import Recorder
    from gateway.engine.ring import Piece
    from gateway.settings import Settings

log = logging.getLogger(__name__)

MIB = 2**20
MOST_PICTURES, MOST_BYTES = 64, 16 * MIB  # waiting to be written
IDLE_S = 20.0  # a child without work is let go after this long
EXPIRE_S = 60.0  # how often files that are too old are looked for
BROKEN_S = 1.0  # after a defect of ours
LAST_S = 2.0  # for what still waits when the gateway ends
LOSSES = (
    "waiting",  # clips that were given up for newer ones
    "broken",  # clips that could not be made
    "disk",  # clips and pictures that could not be kept
    "pictures",  # pictures that were given up for newer ones
    "events",  # events beyond the most of one clip
    "bytes",  # clips that end early, because their stream keeps no more
)


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A picture of an event that is to be kept, with what is drawn on it for who wants that."""

    reel: Reel
    frame: Frame
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A clip that is to be made. `done` hears how that went."""

    reel: Reel
    pieces: tuple[Piece, ...] = field(repr=False)
    done: Callable[[Reel], None] = field(repr=False)

    @property
    def size(self) -> int:
        return sum(len(piece.data) for piece in self.pieces)

    def order(self, fps: float, side: int) -> dict[str, Any]:
        """The header for the child; the payload are the pieces."""
        if self.pieces[0].stamps:
            stamps = (stamp for piece in self.pieces for stamp in piece.stamps)
            return {"do": "remux", "packets": [[one.size, one.at, one.later, one.key] for one in stamps]}
        times = [round(piece.at, 4) for piece in self.pieces]
        sizes = [len(piece.data) for piece in self.pieces]
        return {"do": "encode", "sizes": sizes, "times": times, "fps": fps, "side": side}


class Clips:
    """`running()` is its life. `lost` counts what events did not get, by reason.

    Unless it `serves`, events get nothing, and what another process keeps in the same place is left alone.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic, serves: bool = True) -> None:
        self._serves = serves
        self.rules = rules = settings.clips if serves else settings.clips.model_copy(update={"on": False})
        self.made = 0
        self.lost: Counter[str] = Counter()
        self.recorders: set[Recorder] = set()
        quota = round(rules.quota_mb * MIB)
        self.archive = Archive(settings.home.expanduser() / "media", quota=quota, keep_s=rules.keep_s)
        self._clock = clock
        self._environment = _environment(settings)
        self._child: ChildProcess | None = None
        self._jobs: Mailbox[Job] = Mailbox(rules.waiting)
        self._waiting: dict[Reel, int] = {}  # bytes of the clips that wait
        self._stills: dict[str, Still] = {}  # by event, the oldest first
        self._bell = Bell()
        self._done = asyncio.Event()  # something that waited is done

    # --- life --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Clips]:
        """What waits when this ends has a moment to be done."""
        try:
            async with asyncio.TaskGroup() as tasks:
                works = (self._make_clips, self._write_pictures, self._expire)
                working = [tasks.create_task(self._always(work)) for work in works if self._serves]
                try:
                    yield self
                finally:
                    await self._finish()
                    for task in working:
                        task.cancel()
        finally:
            self.archive.close()
            await self._let_go()

    async def _always(self, work: Callable[[], Awaitable[None]]) -> None:
        """A defect of ours costs a clip or a picture, not the gateway."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("clips: broke")
                await asyncio.sleep(BROKEN_S)

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(LAST_S):
                while self._stills or self._waiting:
                    self._done.clear()
                    await self._done.wait()
        except TimeoutError:
            log.warning("ending: %d clips and %d pictures are not kept", len(self._waiting), len(self._stills))

    async def _expire(self) -> None:
        await self.archive.load()
        while True:
            await self.archive.expire()
            await asyncio.sleep(EXPIRE_S)

    # --- what sessions hand over -------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """What is held in memory: all rings, and the clips that wait."""
        return sum(recorder.ring.bytes for recorder in self.recorders) + sum(self._waiting.values())

    def share(self) -> int:
        """What one stream may keep, in bytes."""
        free = round(self.rules.total_mb * MIB) - sum(self._waiting.values())
        return min(round(self.rules.session_mb * MIB), max(0, free) // max(1, len(self.recorders)))

    def begin(self, stream_id: str) -> Reel:
        return self.archive.begin(stream_id, datetime.now(UTC))

    def keep(self, event_id: str, still: Still) -> None:
        """Keep this as the event's picture; an earlier one that still waits goes."""
        self._stills.pop(event_id, None)
        self._stills[event_id] = still
        while len(self._stills) > MOST_PICTURES or self._heavy():
            del self._stills[next(iter(self._stills))]
            self.lost["pictures"] += 1
        self._bell.ring()

    def _heavy(self) -> bool:
        return len(self._stills) > 1 and sum(len(one.frame.jpeg) for one in self._stills.values()) > MOST_BYTES

    def submit(self, job: Job) -> None:
        """Make this clip when it is its turn."""
        job.reel.clip = "waiting"
        job.reel.due = self._clock() + 1.0 + len(self._jobs)
        self._waiting[job.reel] = job.size
        if (given_up := self._jobs.put(job)) is not None:
            self._settle(given_up, "failed", "waiting")

    def _settle(self, job: Job, state: ClipState, loss: str = "") -> None:
        self._waiting.pop(job.reel, None)
        self._done.set()
        job.reel.clip = state
        if loss:
            self.lost[loss] += 1
        job.done(job.reel)

    # --- what is asked for -------------------------------------------------------------------------------------------

    def stream_of(self, event_id: str) -> str | None:
        """Whose event it is, as long as anything of it is kept."""
        reel = self.archive.of(event_id)
        return None if reel is None else reel.stream_id

    async def picture(self, event_id: str) -> tuple[bytes, Mapping[str, Any]]:
        """An event's picture as it came, and its record. Raises `NotFound`."""
        reel = self._reel(event_id)
        if (still := self._stills.get(event_id)) is not None:
            return still.frame.jpeg, still.record
        if (found := await self.archive.read(reel, event_id)) is None:
            raise NotFound("there is no picture of this event", code="no_snapshot")
        return found

    def clip(self, event_id: str) -> Path:
        """The file of an event's clip. Raises `NotFound`, or `NoClip` while it is not there yet."""
        reel = self._reel(event_id)
        if reel.busy:
            wait_s = max(1.0, reel.due - self._clock())
            raise NoClip("the clip is still being made", retry_after_s=wait_s)
        if reel.clip == "failed":
            raise NotFound("there is no clip of this event", code="no_clip")
        return self.archive.path(reel, CLIP)

    def _reel(self, event_id: str) -> Reel:
        if (reel := self.archive.of(event_id)) is None:
            raise NotFound("nothing is kept of such an event")
        return reel

    def describe(self) -> dict[str, Any]:
        """For `GET /api/status`."""
        return {
            "made": self.made,
            "waiting": len(self._waiting),
            "lost": {reason: count for reason, count in sorted(self.lost.items()) if count},
            "memory_bytes": self.held,
            "disk_bytes": self.archive.bytes,
            "disk_failures": self.archive.failures,
        }

    # --- pictures ----------------------------------------------------------------------------------------------------

    async def _write_pictures(self) -> None:
        while True:
            await self._bell.wait()
            while self._stills:
                event_id, still = next(iter(self._stills.items()))
                name = f"{still.frame.seq}.jpg"
                try:
                    if not await self.archive.picture(still.reel, event_id, still.frame.jpeg, name, still.record):
                        self.lost["disk"] += 1
                finally:
                    if self._stills.get(event_id) is still:  # no better one came meanwhile
                        del self._stills[event_id]
                    self._done.set()

    # --- clips -------------------------------------------------------------------------------------------------------

    async def _make_clips(self) -> None:
        while True:
            try:
                async with asyncio.timeout(IDLE_S if self._child else None):
                    job = await self._jobs.get()
            except TimeoutError:
                await self._let_go()
                continue
            await self._make(job)

    async def _make(self, job: Job) -> None:
        """Whatever comes of it, the job is settled: nobody waits for it any more."""
        state: ClipState = "failed"
        loss = "broken"
        try:
            if mp4 := await self._answer(job):
                loss = "disk"
                if await self.archive.write(job.reel, CLIP, mp4):
                    self.made += 1
                    state, loss = "ready", ""
        finally:
            self._settle(job, state, loss)

    async def _answer(self, job: Job) -> bytes:
        """The MP4 of a job; empty if there is none. A child that was not heard out is let go."""
        mp4: bytes | None = None
        try:
            async with asyncio.timeout(self.rules.make_s):
                mp4 = await self._asked(job)
        except (WorkerDied, TimeoutError) as error:
            log.warning("stream %s: a clip is not made: %s", job.reel.stream_id, error or "it took too long")
        finally:
            if mp4 is None:
                await self._let_go()
        return mp4 or b""

    async def _asked(self, job: Job) -> bytes:
        """The MP4 of a job; empty if there is none. Raises `WorkerDied`."""
        if self._child is None:
            self._child = ChildProcess("clips", environment=self._environment, nice=self.rules.nice)
            await self._child.start()
            await self._child.receive()  # its hello
        parts = (piece.data for piece in job.pieces)
        self._child.send({**job.order(self.rules.fps, self.rules.side), "id": 0}, *parts)
        answer, mp4 = await self._child.receive()
        if "error" in answer:
            log.warning("stream %s: a clip is not made: %s", job.reel.stream_id, answer["error"])
        return mp4

    async def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.close()


def _environment(settings: Settings) -> dict[str, str]:
    """Of the process that makes clips: it gets bytes and gives bytes, so it needs neither network nor files."""
    environment = worker_environment(settings)
    if not settings.analysis.confine:
        return environment
    home = str(settings.home.expanduser().absolute())
    return {**environment, VARIABLE: Confinement(network=False, files=False, home=home).to_text()}
