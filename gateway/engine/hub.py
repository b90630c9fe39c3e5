"""Hub: the one place that knows which sessions exist, and which analyzers and workers there are for them.

Touched only on the event loop. `running()` is the engine's whole life: workers, sessions and their tasks begin and end
inside it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from gateway.engine.dispatcher import Dispatcher
from gateway.engine.environment import worker_environment
from gateway.engine.picture import Painter
from gateway.engine.plugins import BUILT_IN, Manifest, PluginSpec, discover
from gateway.engine.runner import Runner
from gateway.engine.session import Session, SessionRequest
from gateway.engine.slot import Slot, Stage, in_line
from gateway.engine.supervisor import Supervisor
from gateway.engine.worker import ProcessWorker, ThreadWorker, Worker, WorkerSetup
from gateway.errors import AtCapacity, NotFound, SessionEnded, UnknownOption
from gateway.protocol import to_text
from gateway.results import plain_json
from gateway.settings import Settings

log = logging.getLogger(__name__)

HOST_OPTIONS = frozenset({"fps"})  # the host's, not the analyzer's
MAX_FPS = 1000  # of one analyzer on one stream; more is a slip of the keyboard
MAX_OPTIONS = 8192  # characters of JSON that one request may say to one analyzer
INTRODUCTION_S = 10.0  # a plugin that imports for longer joins later and holds nobody up

WorkerFactory = Callable[[str, WorkerSetup], Worker]


@dataclass(slots=True)
class Totals:
    """Frame counts over several sessions; `dropped` by stage of the way and reason."""

    frames: int = 0
    analyzed: int = 0
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, session: Session) -> None:
        self.frames += session.frames.total
        self.analyzed += session.findings.analyzed.total
        for stage, reasons in session.dropped().items():
            for reason, count in reasons.items():
                self.dropped[stage, reason] += count


class Hub:
    """Sessions, analyzers, workers. `clock` is monotonic seconds; `make_worker` is for tests."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        make_worker: WorkerFactory | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.started_at = clock()
        self.sessions: dict[str, Session] = {}
        self.runners: dict[str, Runner] = {}
        self.supervisors: list[Supervisor] = []
        self.plugins: list[PluginSpec] = []
        self.plugin_errors: dict[str, str] = {}
        self.sessions_opened = 0
        self.painter = _painter(settings)
        self.draining = False
        self._make_worker = make_worker or _make_worker(settings)
        self._homes: dict[str, Supervisor] = {}
        self._ended: dict[str, tuple[float, str]] = {}
        self._past = Totals()
        self._unknown: set[str] = set()
        self._introduced = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    # --- life --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
        """Start the workers; on leaving, end every session and stop the workers."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                workers = [tasks.create_task(supervisor.run()) for supervisor in self._assemble()]
                if not workers:
                    self._introduced.set()
                try:
                    yield self
                finally:
                    await self.drain()
                    for supervisor in self.supervisors:
                        supervisor.close()
                    for worker in workers:
                        worker.cancel()
        finally:
            await self.painter.close()

    def _assemble(self) -> list[Supervisor]:
        """One worker per group of plugins: the built-ins share one, every other distribution has its own."""
        self.plugins = discover(self.settings.plugins, self.settings.plugins_off)
        groups: dict[str, list[PluginSpec]] = {}
        for spec in self.plugins:
            groups.setdefault(spec.group, []).append(spec)
        options = {
            name: {key: value for key, value in values.items() if key not in HOST_OPTIONS}
            for name, values in self.settings.analyzers.items()
        }
        environment = worker_environment(self.settings)
        for name, specs in groups.items():
            setup = WorkerSetup(tuple(specs), options, environment, self.settings.analysis.nice)
            worker = self._make_worker(name, setup)
            self.supervisors.append(
                Supervisor(name, worker, self.settings.analysis, clock=self.clock, introduce=self._meet)
            )
        self._unknown = set(groups)
        return self.supervisors

    def _meet(self, supervisor: Supervisor, manifests: Iterable[Manifest], failed: Mapping[str, str]) -> None:
        """A worker has said what it holds."""
        self.plugin_errors.update(failed)
        for manifest in manifests:
            home = self._homes.setdefault(manifest.name, supervisor)
            if home is not supervisor:
                other = self.runners[manifest.name].manifest
                self.plugin_errors[manifest.plugin] = (
                    f"two analyzers are called {manifest.name}: plugin {other.plugin} of {other.distribution}"
                    f" and plugin {manifest.plugin} of {manifest.distribution}; the first one is used"
                )
            elif manifest.name not in self.runners:
                runner = Runner(manifest, self.settings.analysis)
                self.runners[manifest.name] = supervisor.runners[manifest.name] = runner
        self._unknown.discard(supervisor.name)
        if not self._unknown:
            self._introduced.set()

    @property
    def ready(self) -> bool:
        """Whether every worker has said what it holds, or had its time to."""
        return self._introduced.is_set() or self.clock() - self.started_at > INTRODUCTION_S

    async def introduced(self) -> None:
        """Wait until it is known which analyzers there are."""
        left = self.started_at + INTRODUCTION_S - self.clock()
        if left > 0:
            try:
                async with asyncio.timeout(left):
                    await self._introduced.wait()
            except TimeoutError:
                pass

    async def drain(self) -> None:
        """Take no new session and end those there are; returns when their tasks are through."""
        self.draining = True
        for session in self.sessions.values():
            session.end("shutdown")
        for session in list(self.sessions.values()):
            await session.gone.wait()

    # --- sessions ----------------------------------------------------------------------------------------------------

    async def open_session(self, request: SessionRequest) -> Session:
        """Begin a session. Raises `AtCapacity`, or `UnknownOption` for an analyzer or option there is not."""
        await self.introduced()
        if self.draining or self._tasks is None:
            raise AtCapacity("the gateway is shutting down", code="draining", retry_after_s=5)
        if len(self.sessions) >= self.settings.limits.max_sessions:
            raise AtCapacity("as many streams are live as may be", retry_after_s=5)
        stream_id = secrets.token_hex(16)
        session = Session(stream_id, request, self.settings, painter=self.painter, clock=self.clock)
        session.assign(self._places(session, request))
        self.sessions[stream_id] = session
        self.sessions_opened += 1
        self._tasks.create_task(self._live(session), name=f"session {stream_id}")
        log.info("stream %s: opened with %s", stream_id, ", ".join(stage.name for stage in session.stages) or "nothing")
        return session

    def _places(self, session: Session, request: SessionRequest) -> list[tuple[Dispatcher, Slot]]:
        """The session's slots: its analyzers and what they need, by worker and by whose results they wait for."""
        wishes = request.options or {}
        stages = [self._stage(name, wishes.get(name, {})) for name in self.resolve(request.analyzers)]
        if unused := wishes.keys() - {stage.name for stage in stages}:
            raise UnknownOption(f"options for {min(unused)}, which is not among this stream's analyzers")
        places: list[tuple[Dispatcher, Slot]] = []
        for stage in stages:
            _settle(stage, self._homes[stage.name].dispatcher, places, session)
        for stage in stages:
            self._homes[stage.name].want(stage.runner)
        return places

    def _stage(self, name: str, wishes: Mapping[str, Any]) -> Stage:
        """An analyzer with a session's options. Raises `UnknownOption`."""
        runner = self.runners[name]
        fps = {**self.settings.analyzers.get(name, {}), **wishes}.get("fps")
        options = {key: value for key, value in wishes.items() if key not in HOST_OPTIONS}
        _check_options(runner, options, fps)
        return Stage(runner, options, fps)

    def resolve(self, wanted: Iterable[str] | None) -> list[str]:
        """The analyzers to run, needs added and first. None: the default set. Raises `UnknownOption`."""
        ordered: list[str] = []
        for name in self._default() if wanted is None else wanted:
            self._add(name, ordered, ())
        return ordered

    def _add(self, name: str, ordered: list[str], path: tuple[str, ...]) -> None:
        if name in path:
            raise UnknownOption(f"analyzers need each other in a circle: {' -> '.join((*path, name))}")
        if name not in self.runners:
            near = get_close_matches(name, self.runners, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(self.runners)) or 'none'}"
            raise UnknownOption(f"there is no analyzer {name!r}; {hint}", code="unknown_analyzer")
        for need in self.runners[name].manifest.needs:
            self._add(need, ordered, (*path, name))
        if name not in ordered:
            ordered.append(name)

    def _default(self) -> list[str]:
        """`motion` and every built-in whose weights are found, unless the operator says otherwise."""
        if self.settings.analysis.default is not None:
            return self.settings.analysis.default
        ours = [name for name, runner in self.runners.items() if runner.manifest.distribution == BUILT_IN]
        return sorted(filter(self._fit, ours), key=lambda name: (name != "motion", name))

    def _fit(self, name: str) -> bool:
        """Whether an analyzer and all it needs can run here."""
        runner = self.runners.get(name)
        return runner is not None and runner.state != "failed" and all(map(self._fit, runner.manifest.needs))

    def get(self, stream_id: str) -> Session:
        """A live session. Raises `SessionEnded` for a while after its end, then `NotFound`."""
        if session := self.sessions.get(stream_id):
            if session.reason is None:
                return session
            raise SessionEnded(f"the stream has ended: {session.reason}", reason=session.reason)
        if ended := self._ended.get(stream_id):
            at, reason = ended
            if self.clock() - at <= self.settings.stream.ended_kept_s:
                raise SessionEnded(f"the stream has ended: {reason}", reason=reason)
        raise NotFound("there is no such stream")

    async def end(self, stream_id: str, reason: str = "deleted") -> None:
        """End a session and wait until nothing of it is left. Raises as `get`."""
        session = self.get(stream_id)
        session.end(reason)
        await session.gone.wait()

    async def _live(self, session: Session) -> None:
        """A session's own task: everything it runs begins and ends in here."""
        try:
            async with asyncio.TaskGroup() as tasks:
                session.audience.tasks = tasks
                await session.live()
                session.close(retry_ms=_retry_ms() if session.reason == "shutdown" else None)
        except* Exception:  # a bug of ours: it costs this session, not the others
            log.exception("stream %s: broke", session.id)
            session.end("internal")
            session.close()
        finally:
            del self.sessions[session.id]
            self._remember(session)
            session.gone.set()
            log.info("stream %s: ended: %s", session.id, session.reason)

    def totals(self) -> Totals:
        """Frames of all sessions since the start, the ended ones included."""
        totals = Totals(self._past.frames, self._past.analyzed, self._past.dropped.copy())
        for session in self.sessions.values():
            totals.add(session)
        return totals

    def _remember(self, session: Session) -> None:
        self._past.add(session)
        now = self.clock()
        keep = self.settings.stream.ended_kept_s
        self._ended = {key: ended for key, ended in self._ended.items() if now - ended[0] <= keep}
        self._ended[session.id] = (now, session.reason or "ended")


def _retry_ms() -> int:
    """When a client may come back after a restart: spread, so that not all come at once."""
    return 500 + secrets.randbelow(2000)


def _settle(stage: Stage, home: Dispatcher, places: list[tuple[Dispatcher, Slot]], session: Session) -> None:
    """Put an analyzer in a slot at its worker. One that needs nothing from elsewhere waits for nobody elsewhere."""
    needs = set(stage.runner.manifest.needs)
    for dispatcher, slot in places:
        if dispatcher is home and (needs <= slot.known if needs else slot.source is None):
            slot.stages.append(stage)
            return
    slot = Slot(session, [stage])
    if needs:
        try:
            slot.follow(in_line([other for _, other in places if needs & {there.name for there in other.stages}]))
        except ValueError:
            raise UnknownOption(f"{stage.name} needs {', '.join(needs)}, which cannot see the same frames") from None
    places.append((home, slot))


def _check_size(runner: Runner, options: Mapping[str, Any]) -> None:
    """Options travel with every job, so they are small and flat enough for any reader."""
    try:
        size = len(to_text(plain_json(options, "options")))
    except ValueError as error:
        raise UnknownOption(f"analyzer {runner.name}: {error}") from None
    if size > MAX_OPTIONS:
        raise UnknownOption(f"analyzer {runner.name}: {size} characters of options, more than {MAX_OPTIONS}")


def _check_options(runner: Runner, options: Mapping[str, Any], fps: object) -> None:
    """Refuse options the analyzer does not have. Their values are checked where its code is, in the worker."""
    if fps is not None and not (isinstance(fps, (int, float)) and 0 < fps <= MAX_FPS):
        wrong = f"expected frames per second above 0 and up to {MAX_FPS}, got {repr(fps)[:40]}"
        raise UnknownOption(f"analyzer {runner.name}, option fps: {wrong}")
    _check_size(runner, options)
    known = runner.manifest.options.get("properties", {})
    for key in options:
        if key in runner.manifest.load_options:
            raise UnknownOption(f"analyzer {runner.name}, option {key}: set by the operator, for all streams")
        if key not in known:
            near = get_close_matches(key, [*known, *HOST_OPTIONS], 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join([*known, 'fps'])}"
            raise UnknownOption(f"analyzer {runner.name} has no option {key}; {hint}")


def _painter(settings: Settings) -> Painter:
    return Painter(
        environment=worker_environment(settings), nice=settings.analysis.nice, quality=settings.mjpeg.quality
    )


def _make_worker(settings: Settings) -> WorkerFactory:
    def make(name: str, setup: WorkerSetup) -> Worker:
        return ThreadWorker(setup) if settings.analysis.worker == "thread" else ProcessWorker(setup)

    return make
