"""Pipeline: the gateway's own engine, from the hub to the worker process, with a clock that shows the clips' time.

Every frame is put when its moment has come and looked at by every analyzer before the next one is, so nothing is
dropped, and a run takes as long as the analyzers need. Deadlines are none: a slow machine must not change the figures.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.commands.sources import Picture, SourceFailed
from gateway.engine.hub import Hub
from gateway.engine.request import SessionRequest
from gateway.engine.runner import Runner
from gateway.engine.session import Session
from gateway.errors import GatewayError
from gateway.evaluation.run import Row, Run, Told
from gateway.events import Event
from gateway.settings import Settings

PATIENCE_S = 3600.0  # for one answer
START_S = 120.0  # for all plugins to be imported
MARGIN_S = 1  # whole seconds between two takes on the clock


class CannotEvaluate(Exception):
    """The pipeline cannot run what was asked; one line for the user."""


@dataclass(frozen=True, slots=True)
class Take:
    """What is to be shown to which analyzers. Times may begin below zero, and never go back."""

    pictures: Iterable[Picture]
    analyzers: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class _Taking:
    """A take under way."""

    session: Session
    begin: float  # of the clip, when the session opened
    rows: list[Row] = field(default_factory=list)
    put_at: list[datetime] = field(default_factory=list)  # on the wall clock, by row
    first_seen: dict[str, float] = field(default_factory=dict)  # events, by id


class ClipClock:
    """Monotonic seconds, moved by whoever puts frames."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Pipeline:
    """The engine under these settings, the operator's options included."""

    def __init__(self, settings: Settings) -> None:
        self._clock = ClipClock()
        self.hub = Hub(_patient(settings), clock=self._clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pipeline]:
        async with self.hub.running():
            await self._introduced()
            yield self

    async def _introduced(self) -> None:
        async with asyncio.timeout(START_S):
            while any(map(self.hub.expects, self.hub.supervisors)):
                await self.hub.introduced()

    @property
    def runners(self) -> Mapping[str, Runner]:
        """The analyzers there are."""
        return self.hub.runners

    @property
    def pids(self) -> list[int]:
        """Of the worker processes."""
        return [pid for supervisor in self.hub.supervisors if (pid := supervisor.worker.pid) is not None]

    async def run(self, take: Take) -> Run:
        """Show one clip in a session of its own. Raises `CannotEvaluate`."""
        return (await self.run_together([take]))[0]

    async def run_together(self, takes: Sequence[Take]) -> list[Run]:
        """Show clips in sessions beside each other, their frames in the order of their times. Raises as `run`."""
        pictures = _merged(takes)
        ahead = ThreadPoolExecutor(1, thread_name_prefix="decode")  # PyAV wants one owner per container
        try:
            async with asyncio.TaskGroup() as tasks:
                upcoming = tasks.create_task(_next(ahead, pictures))
                first = await upcoming
                begin = first[1].at if first else 0.0
                self._clock.now = math.ceil(self._clock.now) + MARGIN_S
                offset, takings = self._clock.now - begin, [await self._open(take, begin) for take in takes]
                item = first
                while item is not None:
                    upcoming = tasks.create_task(_next(ahead, pictures))
                    await self._put(takings[item[0]], item[1], offset)
                    item = await upcoming
        except* (CannotEvaluate, SourceFailed, GatewayError, ValueError, OSError) as group:
            raise CannotEvaluate(str(_first(group))) from None
        finally:
            ahead.shutdown(wait=True)
        return [await self._finish(taking) for taking in takings]

    async def _open(self, take: Take, begin: float) -> _Taking:
        request = SessionRequest(analyzers=take.analyzers, options=take.options)
        session = await self.hub.open_session(request)
        session.lease.join()
        while any(stage.runner.state in ("idle", "loading") for stage in session.stages):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        return _Taking(session, begin)

    async def _put(self, taking: _Taking, picture: Picture, offset: float) -> None:
        """One frame, until every analyzer has answered."""
        session = taking.session
        self._clock.now = offset + picture.at
        taking.put_at.append(datetime.now(UTC))
        with session.answers.expect(session.next_seq, [stage.name for stage in session.stages]) as answer:
            session.put(picture.jpeg)
            if not await answer.complete(PATIENCE_S):
                raise CannotEvaluate(f"no answer to the frame at {picture.at:g} s within {PATIENCE_S:g} s")
        taking.rows.append(Row(picture.at, answer.analyzers))
        for id_ in session.findings.events.keys() - taking.first_seen.keys():
            taking.first_seen[id_] = picture.at

    async def _finish(self, taking: _Taking) -> Run:
        session = taking.session
        states = {s.name: f"{s.runner.state}: {s.runner.reason}" for s in session.stages if s.runner.state != "ready"}
        versions = {stage.name: stage.runner.manifest.version for stage in session.stages}
        await self.hub.end(session.id)
        events = (_told(event, taking) for event in session.findings.events.values() if event.id in taking.first_seen)
        return Run(tuple(taking.rows), tuple(sorted(events, key=lambda one: one.at)), states, versions)


def _told(event: Event, taking: _Taking) -> Told:
    """An event in times of the clip. The engine tells the wall clock's: they are those of the frames put then."""
    at = taking.first_seen[event.id]
    ended = bisect_right(taking.put_at, event.ended_at) - 1 if event.ended_at else len(taking.rows) - 1
    return Told(
        id=event.id,
        event_type=event.event_type,
        analyzer=event.analyzer,
        at=at,
        until=max(at, taking.rows[max(0, ended)].at),
        score=event.score,
        label=event.label,
        box=event.box,
        person_id=event.person_id,
        bag_id=event.bag_id,
        data=event.data,
    )


def _merged(takes: Sequence[Take]) -> Iterator[tuple[int, Picture]]:
    """The pictures of all takes with their take's number, in the order of their times."""
    numbered = [_numbered(number, take.pictures) for number, take in enumerate(takes)]
    return heapq.merge(*numbered, key=lambda item: (item[1].at, item[0]))


def _numbered(number: int, pictures: Iterable[Picture]) -> Iterator[tuple[int, Picture]]:
    for picture in pictures:
        yield number, picture


async def _next(pool: ThreadPoolExecutor, pictures: Iterator[tuple[int, Picture]]) -> tuple[int, Picture] | None:
    return await asyncio.get_running_loop().run_in_executor(pool, next, pictures, None)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _patient(settings: Settings) -> Settings:
    """Without whatever the gateway does because time passes or somebody waits."""
    forever = dict.fromkeys(("deadline_s", "kill_s", "first_call_s", "ping_s"), PATIENCE_S)
    analysis = {**forever, "memory_mb": 0, "quarantine": False, "ahead": False, "batch_wait_ms": 0.0}
    return settings.model_copy(
        update={
            "analysis": settings.analysis.model_copy(update=analysis),
            "stream": settings.stream.model_copy(update={"events_kept": 1_000_000}),
            "limits": settings.limits.model_copy(update={"max_fps": 100_000.0}),
            "clips": settings.clips.model_copy(update={"on": False}),
        }
    )
