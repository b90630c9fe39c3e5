"""Hub: the one place that knows which sessions exist, and which analyzers and workers there are for them.

Touched only on the event loop. `running()` is the engine's whole life: workers, sessions and their tasks begin and end
inside it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from gateway.engine.admission import Admission
from gateway.engine.catalog import Catalog, Plan
from gateway.engine.clips import Clips
from gateway.engine.connectors import ConnectorManifest, by_scheme
from gateway.engine.environment import installed, switched_off, worker_environment, worker_options
from gateway.engine.overload import Overload
from gateway.engine.picture import Painter
from gateway.engine.placement import place
from gateway.engine.plugins import Manifest, PluginSpec
from gateway.engine.pulse import Pulse
from gateway.engine.quarantine import Quarantine
from gateway.engine.request import SessionRequest
from gateway.engine.runner import Runner
from gateway.engine.session import Session
from gateway.engine.supervisor import Supervisor
from gateway.engine.worker import ProcessWorker, ThreadWorker, Worker, WorkerSetup
from gateway.errors import AtCapacity, GatewayError, NotFound, SessionEnded, UnknownOption
from gateway.media.pool import MediaPool
from gateway.proxies import Proxies
from gateway.settings import Settings

log = logging.getLogger(__name__)

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


class SessionNumbers:
    """`S_2026_02_03_0001`: the day (UTC) and which session it is on that day. Any thread may ask."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._day, self._count = date.min, 0

    def next(self) -> str:
        with self.lock:
            today = datetime.now(UTC).date()
            self._day, self._count = today, self._count + 1 if today == self._day else 1
            return f"S_{today:%Y_%m_%d}_{self._count:04}"


class Hub:
    """Sessions, analyzers, workers. `clock` is monotonic seconds; `make_worker` is for tests.

    `serves_clips`: events get pictures and clips, and those that are kept below FRAMEGATE_HOME are tended, which one
    process does at a time: the server.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        make_worker: WorkerFactory | None = None,
        serves_clips: bool = False,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.started_at = clock()
        self.sessions: dict[str, Session] = {}
        self.catalog = Catalog(settings)
        self.runners = self.catalog.runners
        self.plugin_errors = self.catalog.errors
        self.supervisors: list[Supervisor] = []
        self.sessions_opened = 0
        self._numbers = SessionNumbers()
        self.painter = _painter(settings)
        self.media = MediaPool(settings, clock=clock)
        self.clips = Clips(settings, clock=clock, serves=serves_clips)
        self.admission = Admission(settings.limits, Proxies(settings.trusted_proxies), clock=clock)
        self.overload = Overload(self, settings.limits)
        self.pulse = Pulse(settings.limits.hang_s, settings.limits.degraded_s)
        self.draining = False
        self._make_worker = make_worker or _make_worker(settings)
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
            async with self.media.running(), self.clips.running(), asyncio.TaskGroup() as tasks:
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
        chosen = self.settings
        self.catalog.plugins = installed(chosen)
        self.catalog.off = switched_off(chosen)
        self.media.connectors = lambda: {scheme: specs for scheme, (_, specs) in self.connectors().items()}
        groups: dict[str, list[PluginSpec]] = {}
        for spec in self.catalog.plugins:
            groups.setdefault(spec.group, []).append(spec)
        options = worker_options(chosen)
        for name, specs in groups.items():
            environment = worker_environment(self.settings, specs)
            setup = WorkerSetup(tuple(specs), options, environment, chosen.analysis.nice, chosen.log.worker_lines_per_s)
            worker = self._make_worker(name, setup)
            self.supervisors.append(
                Supervisor(
                    name,
                    worker,
                    self.settings.analysis,
                    clock=self.clock,
                    introduce=self._meet,
                    plugins=[spec.name for spec in specs],
                    quarantine=Quarantine(chosen.home / "quarantine") if chosen.analysis.quarantine else None,
                )
            )
        self._unknown = set(groups)
        return self.supervisors

    def _meet(self, supervisor: Supervisor, manifests: Iterable[Manifest], failed: Mapping[str, str]) -> None:
        """A worker has said what it holds, at its start or after a restart, perhaps with other code."""
        changed = self.catalog.meet(supervisor, manifests, failed)
        for runner in supervisor.runners.values():
            runner.on_change = self._changed
        for session in list(self.sessions.values()):
            if session.reason is None and changed.intersection(stage.name for stage in session.stages):
                self._plan_again(session)
        self._unknown.discard(supervisor.name)
        if not self._unknown:
            self._introduced.set()

    def _plan_again(self, session: Session) -> None:
        """Analyzers moved or need others now. What cannot be placed stays as it is, and says what it lacks."""
        try:
            self._enact(session, self.catalog.plan(session.request, said=()))
        except UnknownOption as error:
            log.warning("stream %s: its analyzers cannot be placed anew: %s", session.id, error)

    def _changed(self, runner: Runner) -> None:
        """An analyzer's state is another one: whoever watches it at work is told."""
        for session in self.sessions.values():
            if session.reason is None and any(stage.runner is runner for stage in session.stages):
                session.analyzer_changed(runner)

    @property
    def plugins(self) -> list[PluginSpec]:
        """What was found, in the order that decides whose an analyzer's name is."""
        return self.catalog.plugins

    def connectors(self) -> dict[str, tuple[ConnectorManifest, list[PluginSpec]]]:
        """Connectors of plugins by their scheme, each with the plugins that share its process."""
        found = ((worker.name, manifest) for worker in self.supervisors for manifest in worker.connectors)
        return by_scheme(self.plugins, found)

    @property
    def ready(self) -> bool:
        """Whether every worker has said what it holds, or had its time to."""
        return self._introduced.is_set() or self.clock() - self.started_at > INTRODUCTION_S

    def expects(self, supervisor: Supervisor) -> bool:
        """Whether a worker has not said yet what it holds."""
        return supervisor.name in self._unknown

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
        plan = self._plan(request, said=request.options or ())
        stream_id = secrets.token_hex(16)
        session = Session(stream_id, request, self.settings, painter=self.painter, clips=self.clips, clock=self.clock)
        self._enact(session, plan)
        session.session_id = self._numbers.next()
        self.sessions[stream_id] = session
        self.sessions_opened += 1
        self._tasks.create_task(self._live(session), name=f"session {stream_id}")
        log.info("stream %s: opened with %s", stream_id, ", ".join(stage.name for stage in session.stages) or "nothing")
        return session

    def change(self, stream_id: str, wish: SessionRequest, *, said: Collection[str] = ()) -> Session:
        """Let a live session be as this request has it, all of it or nothing. Analyzers it keeps go on undisturbed.

        `said` are the analyzers that options were named for. Raises as `get`, and `UnknownOption`.
        """
        session = self.get(stream_id)
        self._enact(session, self._plan(wish, said=said))
        session.send_status()
        log.info("stream %s: changed, now with %s", stream_id, ", ".join(s.name for s in session.stages) or "nothing")
        return session

    def _plan(self, wish: SessionRequest, said: Collection[str]) -> Plan:
        """Raises as the catalog's, and `AtCapacity` as `unless_early` says."""
        try:
            return self.catalog.plan(wish, said=said)
        except UnknownOption as error:
            if error.code == "unknown_analyzer":
                raise self.unless_early(error) from None
            raise

    def unless_early(self, error: GatewayError) -> GatewayError:
        """An error that says that no plugin brings what is asked for; before all workers have spoken: come back."""
        if not self._unknown:
            return error
        late = f"{error.detail}, so far: plugins are still being imported"
        return AtCapacity(late, code="starting", retry_after_s=2)

    def _enact(self, session: Session, plan: Plan) -> None:
        """Give a session the analyzers of a plan. Raises `UnknownOption`, before anything has changed."""
        homes, runners = self.catalog.homes, self.runners
        stages = {name: session.lineup.stage(runners[name]) for name in plan.terms}
        places = place(session, stages.values(), {name: homes[name].dispatcher for name in stages}, runners)
        for name, stage in stages.items():
            stage.runner = runners[name]
            if stage.terms != plan.terms[name]:
                stage.tune(plan.terms[name])
        session.assume(plan.request, stages.values(), places)
        for name, stage in stages.items():
            homes[name].want(stage.runner)

    async def reload(self, name: str) -> Runner:
        """Load an analyzer's code and model anew; streams that have it go on. Raises `NotFound`."""
        await self.introduced()
        runner = self.catalog.runner(name)
        await self.catalog.homes[name].reload(runner)
        return self.runners[name]

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


def _painter(settings: Settings) -> Painter:
    return Painter(
        environment=worker_environment(settings),
        nice=settings.analysis.nice,
        quality=settings.mjpeg.quality,
        lines_per_s=settings.log.worker_lines_per_s,
    )


def _make_worker(settings: Settings) -> WorkerFactory:
    def make(name: str, setup: WorkerSetup) -> Worker:
        return ThreadWorker(setup) if settings.analysis.worker == "thread" else ProcessWorker(setup)

    return make
