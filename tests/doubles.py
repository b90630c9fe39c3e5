"""What stands in for the slow and foreign parts of the engine: workers, the picture worker, cameras, publishers.

A `FakeWorker` keeps the `Worker` protocol on whatever clock the loop has, so that a call of 200 ms takes no time under
`tests.clock`. `engine()` is a real hub around such workers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, NamedTuple

import cv2
import numpy as np
from pydantic_core import from_json

from gateway.engine.host import Report
from gateway.engine.hub import Hub
from gateway.engine.mailbox import Closed
from gateway.engine.picture import Overlay, Painter, Picture, Variant
from gateway.engine.plugins import Manifest, manifest_json
from gateway.engine.request import SessionRequest
from gateway.engine.session import Session
from gateway.engine.subscriber import Subscriber
from gateway.engine.wire import Header
from gateway.engine.worker import Worker, WorkerDied, WorkerSetup
from gateway.errors import GatewayError
from gateway.frame import Frame
from gateway.hookspecs import ENTRY_POINT_GROUP
from gateway.results import Result, Sighting, result_to_json
from gateway.settings import Settings
from tests.clock import now, until


@cache
def jpeg(width: int = 32, height: int = 24, level: int = 128) -> bytes:
    """A grey JPEG."""
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), level, np.uint8))
    assert done
    return data.tobytes()


# --- workers ---------------------------------------------------------------------------------------------------------

Look = Callable[[Header], Result]  # what a fake analyzer makes of a job's item; it may raise


def nothing(job: Header) -> Result:
    return Result()


def sees(*event_types: str, linger_s: float = 2.0) -> Look:
    """Sights these in every frame."""
    found = Result(sightings=tuple(Sighting(kind, linger_s=linger_s) for kind in event_types))
    return lambda job: found


def breaks(job: Header) -> Result:
    raise RuntimeError("broken")


def sees_rubbish(job: Header) -> Result:
    raise UnicodeError("the picture does not decode")


@dataclass
class FakeAnalyzer:
    """`call_s` and `load_s` are how long a call and loading take; all but `name` may be changed while it runs."""

    name: str
    call_s: float = 0.0
    look: Look = nothing
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    load_s: float = 0.0
    unfit: str | None = None  # why it does not load
    missing: str | None = None  # what it lacks, as its worker says at once
    options: dict[str, Any] = field(default_factory=dict)  # JSON schemas by name
    distribution: str = "framegate"
    first_call_s: float | None = None
    batch: int = 1
    more_s: float = 0.0  # for each further frame of a batch

    def manifest(self, plugin: str) -> Manifest:
        schema = {"properties": self.options}
        about = self.name, plugin, self.distribution, "1"
        return Manifest(*about, needs=self.needs, wants=self.wants, options=schema, missing=self.missing)


class Call(NamedTuple):
    """One analyzer looked at one frame of one stream, from `began` to `ended`."""

    analyzer: str
    stream_id: str
    seq: int
    began: float
    ended: float


class FakeWorker(Worker):
    """Analyzers that take time and make nothing hot. `die()` is its end, at any moment."""

    def __init__(self, *analyzers: FakeAnalyzer, name: str = "fake", hello_s: float = 0.0) -> None:
        self.name = name
        self.analyzers = {analyzer.name: analyzer for analyzer in analyzers}
        self.hello_s = hello_s
        self.starts: list[float] = []
        self.calls: list[Call] = []
        self.forgotten: list[tuple[str, str | None]] = []
        self.batches: list[tuple[str, ...]] = []  # the streams of each call
        self.reloaded: list[str] = []
        self.killed = 0
        self.rss = 0
        self.running = False
        self.stillborn = 0  # so many more starts fail
        self._loaded: set[str] = set()
        self._dead = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return None

    def die(self) -> None:
        self._dead.set()

    async def start(self) -> Report:
        self.starts.append(now())
        self._dead, self._loaded = asyncio.Event(), set()
        await asyncio.sleep(self.hello_s)
        if self.stillborn:
            self.stillborn -= 1
            raise WorkerDied("stillborn")
        self.running = True
        manifests = [manifest_json(analyzer.manifest(self.name)) for analyzer in self.analyzers.values()]
        return {"t": "hello", "analyzers": manifests, "failed": {}}

    async def listen(self) -> None:
        await self._dead.wait()
        raise WorkerDied("died")

    async def prepare(self, analyzer: str) -> Report:
        about = self.analyzers[analyzer]
        await asyncio.sleep(about.load_s)
        if about.unfit:
            return {"t": "state", "analyzer": analyzer, "state": "failed", "reason": about.unfit}
        self._loaded.add(analyzer)
        return {"t": "state", "analyzer": analyzer, "state": "ready", "batch": about.batch, "device": "fake"}

    async def run(self, job: Header, pictures: Sequence[bytes]) -> AsyncIterator[Report]:
        there = [set(item["results"]) for item in job["items"]]
        for call in job["calls"]:
            about, began = self.analyzers[call["analyzer"]], now()
            outcomes: list[Report | None] = [self._refusal(about, there[at["item"]]) for at in call["items"]]
            asked = [job["items"][at["item"]] for at, no in zip(call["items"], outcomes, strict=True) if no is None]
            if asked:
                seen = iter(await self._call(about, asked))
                outcomes = [no or next(seen) for no in outcomes]
            for at, outcome in zip(call["items"], outcomes, strict=True):
                if outcome and "result" in outcome:
                    there[at["item"]].add(about.name)
            yield {
                "t": "call",
                "analyzer": about.name,
                "ms": round((now() - began) * 1e3, 2),
                "outcomes": outcomes,
            }

    def _refusal(self, about: FakeAnalyzer, there: set[str]) -> Report | None:
        if about.name not in self._loaded:
            return {"skipped": "loading"}
        return None if there.issuperset(about.needs) else {"skipped": "needs"}

    async def _call(self, about: FakeAnalyzer, items: list[Header]) -> list[Report]:
        began = now()
        first = about.first_call_s is not None and all(call.analyzer != about.name for call in self.calls)
        once_s = about.first_call_s if first and about.first_call_s is not None else about.call_s
        await self._busy(once_s + about.more_s * (len(items) - 1))
        self.batches.append(tuple(item["session"]["stream_id"] for item in items))
        return [self._look(about, item, began) for item in items]

    def _look(self, about: FakeAnalyzer, item: Header, began: float) -> Report:
        self.calls.append(Call(about.name, item["session"]["stream_id"], item["frame"]["seq"], began, now()))
        try:
            return {"result": result_to_json(about.look(item))}
        except UnicodeError as error:
            return {"skipped": "undecodable", "reason": str(error)}
        except RuntimeError as error:
            return {"error": f"RuntimeError: {error}", "traceback": "Traceback of it"}

    async def _busy(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._dead.wait()
        except TimeoutError:
            return
        raise WorkerDied("died during a job")

    def forget(self, stream_id: str, analyzer: str | None = None) -> None:
        self.forgotten.append((stream_id, analyzer))

    async def reload(self, analyzer: str) -> Report:
        self.reloaded.append(analyzer)
        return {"t": "reloaded", "analyzer": analyzer, "state": "ready"}

    async def ping(self) -> None:
        if self._dead.is_set():
            raise WorkerDied("died")

    def kill(self) -> None:
        self.killed += 1

    async def close(self) -> None:
        self.running = False

    # --- for assertions ----------------------------------------------------------------------------------------------

    def seqs(self, analyzer: str) -> list[int]:
        """The frames it looked at."""
        return [call.seq for call in self.calls if call.analyzer == analyzer]

    def turns(self) -> Counter[str]:
        """Calls by stream."""
        return Counter(call.stream_id for call in self.calls)


class FakePainter(Painter):
    """Draws nothing and remembers what it was asked. `paint_s` is how long a picture takes."""

    def __init__(self, *, paint_s: float = 0.0) -> None:
        super().__init__(environment={}, nice=0, quality=80)
        self.paint_s = paint_s
        self.redrawn: list[tuple[int, Variant, Overlay]] = []
        self.slates: list[list[str]] = []
        self.error: GatewayError | None = None

    async def _ask(self, order: dict[str, Any], payload: bytes) -> bytes:
        await asyncio.sleep(self.paint_s)
        if self.error:
            raise self.error
        self.encodes += 1
        return b"painted"

    async def redraw(self, frame: Frame, variant: Variant, overlay: Overlay) -> bytes:
        self.redrawn.append((frame.seq, variant, overlay))
        return await super().redraw(frame, variant, overlay)

    async def slate(self, lines: list[str], width: int, height: int) -> bytes:
        self.slates.append(lines)
        return await super().slate(lines, width, height)


# --- the engine ------------------------------------------------------------------------------------------------------


def settings(**values: Any) -> Settings:
    """Defaults but for `values`, none of the plugins that happen to be installed here, and no frame kept on a disk."""
    installed = sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})
    analysis = {"quarantine": False, **values.pop("analysis", {})}
    quiet = {"home": "/nowhere", "plugins_dir": "/nowhere", "plugins_off": installed, "clips": {"on": False}}
    return Settings(**{**quiet, "analysis": analysis, **values})


@asynccontextmanager
async def engine(*workers: FakeWorker, painter: Painter | None = None, **values: Any) -> AsyncIterator[Hub]:
    """A running hub, on the loop's clock, whose analyzers live in these workers."""
    by_name = {worker.name: worker for worker in workers}

    def make(name: str, setup: WorkerSetup) -> Worker:
        return by_name[setup.plugins[0].name]

    rules = settings(plugins=[f"{name}.py" for name in by_name], **values)
    hub = Hub(rules, clock=now, make_worker=make, serves_clips="clips" in values)
    hub.painter = painter or FakePainter()
    async with hub.running():
        yield hub


async def stream(hub: Hub, *analyzers: str, **wishes: Any) -> Session:
    """Open a session and give its analyzers a moment to load."""
    session = await hub.open_session(SessionRequest(analyzers=analyzers, **wishes))
    session.lease.join()
    await asyncio.sleep(0.001)
    return session


async def play(session: Session, *, fps: float, seconds: float) -> int:
    """Be a camera; the number of frames put."""
    start, count = now(), round(fps * seconds)
    for number in range(count):
        await until(start + number / fps)
        session.put(jpeg())
    await until(start + seconds)
    return count


async def play_all(sessions: Sequence[Session], *, fps: float, seconds: float) -> None:
    """Be a camera in front of each."""
    async with asyncio.TaskGroup() as cameras:
        for session in sessions:
            cameras.create_task(play(session, fps=fps, seconds=seconds))


# --- who watches, who publishes --------------------------------------------------------------------------------------


def listener(session: Session, *, messages: int = 100_000, **how: Any) -> Subscriber:
    """Somebody who gets every message and reads them later, with `heard`."""
    subscriber = Subscriber(messages=messages, **how)
    session.audience.subscribe(subscriber)
    return subscriber


async def heard(subscriber: Subscriber, *kinds: str) -> list[dict[str, Any]]:
    """The JSON messages it has got since the last time, of these kinds if any are named."""
    said = [from_json(item) for item in await _taken(subscriber) if isinstance(item, str)]
    return [message for message in said if not kinds or message["type"] in kinds]


async def seen(subscriber: Subscriber) -> list[Picture]:
    """The pictures it has got since the last time; a mailbox holds only the newest."""
    return [item for item in await _taken(subscriber) if isinstance(item, Picture)]


async def _taken(subscriber: Subscriber) -> list[str | Picture]:
    items: list[str | Picture] = []
    try:
        async with asyncio.timeout(0):
            while True:
                items.append(await subscriber.next())
    except (TimeoutError, Closed):
        return items


@dataclass
class FakePublisher:
    """Somebody who sends frames and is told when another one takes over."""

    token: str = "secret"
    displacements: int = 0
    asked_for_few: bool = False

    def displaced(self) -> None:
        self.displacements += 1


def account(session: Session) -> Mapping[str, int]:
    """Per analyzer: frames analysed or dropped for a reason. Only waiting ones are missing."""
    return {stage.name: stage.analyzed + stage.dropped.total() for stage in session.stages}
