"""MultiCameraService: several cameras in a plain script, without a server (docs/embedding.md).

Synchronous and thread-safe: one background thread runs the engine, another one calls back, and models and decoders run
in processes of their own, which are never started from the script's module. What this file imports loads no OpenCV,
FFmpeg or ONNX Runtime.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - so that our end comes before its: see _stop_everything
import inspect
import logging
import os
import re
import threading
import weakref
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from gateway.engine.hub import SessionNumbers
from gateway.engine.request import SessionRequest
from gateway.errors import CameraExists, UnknownOption
from gateway.media.sources import OURS, PORTS, Source, parse
from gateway.service_camera import Order, Post, ServiceCamera
from gateway.service_courier import Callback, Courier, Listener
from gateway.service_preview import listen
from gateway.service_runtime import Over, Runtime, device_of
from gateway.service_window import check
from gateway.settings import Settings, load

__all__ = ["CameraConfig", "MultiCameraService"]

log = logging.getLogger(__name__)

T = TypeVar("T")

PHASES = frozenset({"new", "update", "end"})
STOP_S = 15.0  # for the engine to end; its parts have shorter deadlines of their own
HEAR_S = 2.0  # for callbacks about what had happened before the end
OLDER_DB = Path("antiterror.db")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|/dev/video[0-9]|[0-9]{1,3}$")  # one letter and a colon is a drive


class _NotGiven(str):
    """A default that can be told from the same text given by the caller."""


_DEFAULT_DB = _NotGiven("framegate.db")


@dataclass(frozen=True)
class CameraConfig:
    """One camera. The first six are the older interface's; the rest has defaults that need no thought.

    `source` is the number of a camera at this machine, a path, an address with rtsp(s) or http(s), or `demo:`.
    `device` is what models run on: `cuda`, `cuda:1`, `mps` or `cpu`; None: the best there is. `analyzers` None is the
    default set, `options` are theirs by name; `max_fps` bounds what comes in; `loop` begins a file anew at its end.
    """

    camera_id: str
    source: int | str | os.PathLike[str] = field(repr=False)
    db_path: str | os.PathLike[str] = _DEFAULT_DB
    device: str | None = None
    preview_port: int | None = None
    render_enabled: bool = False
    analyzers: Sequence[str] | None = None
    options: Mapping[str, Mapping[str, Any]] | None = None
    max_fps: float | None = None
    loop: bool = False

    def __post_init__(self) -> None:
        if (
            not isinstance(self.camera_id, str)
            or not 1 <= len(self.camera_id) <= 64
            or not self.camera_id.isprintable()
        ):
            raise ValueError(f"camera_id is a text of 1 to 64 characters, got {self.camera_id!r:.80}")


class MultiCameraService:
    """Cameras by their id. Every method may be called from every thread, callbacks included.

    As a context manager it stops everything at the end of the block. A script that ends without `stop_all` leaves no
    process behind either. After `stop_all` the service may be used again.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """`settings` None: as the gateway reads them (environment, .env, framegate.toml). Raises `ValueError`."""
        self._settings = settings if settings is not None else _loaded()
        self._listener = Listener()
        self._lock = threading.RLock()
        self._running: _Run | None = None
        _services.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    # --- events ------------------------------------------------------------------------------------------------------

    def set_event_callback(self, callback: Callback | None, *, phases: Collection[str] = ("new",)) -> None:
        """Call this with (camera_id, events) on a background thread; None: nobody. The newest one set is the one.

        An event is told when it begins; `phases` may name `update` and `end` as well. What the callback raises is
        logged; while it is slow, events wait, and the oldest ones of a camera that has too many are dropped, counted
        in `events_lost`. Raises `TypeError` or `ValueError` for what cannot be called or told.
        """
        if inspect.iscoroutinefunction(callback) or not (callback is None or callable(callback)):
            raise TypeError("the event callback is a plain function of camera_id and events")
        if wrong := set(phases) - PHASES:
            raise ValueError(f"phases are {', '.join(sorted(PHASES))}; got {min(wrong)!r}")
        self._listener.phases, self._listener.callback = frozenset(phases), callback

    # --- cameras -----------------------------------------------------------------------------------------------------

    def start_camera(self, config: CameraConfig) -> None:
        """Begin to watch a camera, in the background; whether its source is there, `get_latest_stats` says.

        Raises at once for what a retry would not mend: `CameraExists`, `BadSource`, `UnknownOption` (device),
        `WindowFailed` (render_enabled), `OSError` (preview_port, or a home that cannot be made). `RuntimeError` in a
        process that was forked off the service's, and while the script ends.
        """
        source = _source_of(config)
        device = device_of(config.device, self._settings.runtime)
        _look_for_older_database(config)
        if config.render_enabled:
            check()
        with self._lock:
            run = self._begin()
            if config.camera_id in run.cameras:
                raise CameraExists(f"camera {config.camera_id} runs already; stop_camera ends it")
            port = config.preview_port
            order = Order(
                config.camera_id,
                _numbers.next(),
                source,
                device,
                _request_of(config),
                listen(config.camera_id, port, self._settings) if port is not None else None,
                config.render_enabled,
            )
            camera = ServiceCamera(order, run.post, self._settings)
            try:
                run.runtime.spawn(lambda: camera.run(run.runtime))
            except Over:
                camera.never()
                raise
            run.cameras[config.camera_id] = camera

    def stop_camera(self, camera_id: str) -> None:
        """End a camera and wait until nothing of it is left. One that does not run is no error."""
        with self._lock:
            run = self._running
            camera = run.cameras.pop(camera_id, None) if run is not None else None
        if run is not None and camera is not None:

            async def end() -> None:
                camera.end()
                await camera.gone()

            _asked(run, end)

    def stop_all(self) -> None:
        """End every camera, process and thread of the service. A second call finds nothing to do."""
        with self._lock:
            run, self._running = self._running, None
        if run is not None:
            run.stop()

    # --- what there is to see ----------------------------------------------------------------------------------------

    @property
    def camera_ids(self) -> list[str]:
        """The cameras that were started and not stopped, whatever their state."""
        with self._lock:
            return list(self._running.cameras) if self._running is not None else []

    def get_latest_jpeg(self, camera_id: str, *, draw: bool = False) -> bytes | None:
        """Its newest picture as JPEG, `draw`: with boxes; None if there is none yet, or no such camera."""
        return self._ask(camera_id, lambda camera: camera.jpeg(draw=draw))

    def get_latest_stats(self, camera_id: str) -> dict[str, Any] | None:
        """What is counted at a camera now, its state, and what is wrong with it; None if there is no such camera."""
        return self._ask(camera_id, lambda camera: camera.stats())

    def _ask(self, camera_id: str, what: Callable[[ServiceCamera], Coroutine[Any, Any, T]]) -> T | None:
        with self._lock:
            run = self._running
            camera = run.cameras.get(camera_id) if run is not None else None
        return None if run is None or camera is None else _asked(run, lambda: what(camera))

    def _begin(self) -> _Run:
        """The engine, started if it does not run. Raises `RuntimeError` in a process that was forked off its own."""
        run = self._running
        if run is not None and run.pid != os.getpid():
            raise RuntimeError("this service was started before a fork; make a new one in the new process")
        if run is None or not run.runtime.alive:
            if run is not None:  # it broke
                run.stop()
            run = self._running = _Run(self._settings, self._listener)
        return run


class _Run:
    """The service between its first camera and `stop_all`."""

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self.pid = os.getpid()
        self.cameras: dict[str, ServiceCamera] = {}
        self.post = Post(Courier(listener), listener)
        self.runtime = Runtime(settings)
        self.runtime.start()
        _runs.add(self)

    def stop(self) -> None:
        if self.pid != os.getpid():  # its threads are the other process's
            return
        if not self.runtime.stop(STOP_S):
            log.error("the service has not ended within %g s; its processes end with this one", STOP_S)
        self.post.courier.close(HEAR_S)
        _runs.discard(self)


def _asked(run: _Run, what: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
    """None if the service ends meanwhile."""
    try:
        return run.runtime.call(what)
    except Over:
        return None


# --- the end of the script -------------------------------------------------------------------------------------------

_runs: set[_Run] = set()


def _stop_everything() -> None:
    """The script has ended, by itself, by an exception or by Ctrl-C.

    The engine buries its processes by an executor, and concurrent.futures shuts those down before `atexit` functions
    are called. It has itself called as this is; who came last goes first.
    """
    for run in list(_runs):
        run.stop()


threading._register_atexit(_stop_everything)  # type: ignore[attr-defined]


# --- a fork ----------------------------------------------------------------------------------------------------------

_numbers = SessionNumbers()  # of all cameras that this process starts
_services: weakref.WeakSet[MultiCameraService] = weakref.WeakSet()


def _forked() -> None:
    """In a new process: who held a lock may not be there to let it go."""
    _numbers.lock = threading.Lock()
    for service in list(_services):
        service._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# --- what a config means ---------------------------------------------------------------------------------------------


def _source_of(config: CameraConfig) -> Source:
    """Raises `BadSource`. The script's author owns this machine: what is named here may lie anywhere."""
    given = config.source
    if isinstance(given, os.PathLike) or (isinstance(given, str) and given and not _ADDRESS.match(given)):
        return Source("file", path=str(Path(given).expanduser().absolute()), loop=config.loop)
    scheme = str(given).partition(":")[0]
    plugins = () if scheme.lower() in (*PORTS, "file") else (scheme,)  # which there are, workers say once they run
    return replace(parse(given, (*OURS, *plugins)), trusted=True, loop=config.loop)


def _request_of(config: CameraConfig) -> SessionRequest:
    analyzers = None if config.analyzers is None else tuple(config.analyzers)
    if isinstance(config.analyzers, str):
        raise UnknownOption(f"analyzers is a list of names, as [{config.analyzers!r}]")
    return SessionRequest(
        analyzers,
        name=config.camera_id,
        options=config.options,
        max_fps=config.max_fps,
        camera_id=config.camera_id,
    )


def _look_for_older_database(config: CameraConfig) -> None:
    if config.db_path is _DEFAULT_DB and OLDER_DB.exists():
        log.warning(
            "camera %s: ./%s is there and left alone, neither read nor changed; db_path is %s unless you name another",
            config.camera_id,
            OLDER_DB,
            _DEFAULT_DB,
        )


def _loaded() -> Settings:
    try:
        return load()
    except SystemExit as error:
        raise ValueError(str(error)) from None
