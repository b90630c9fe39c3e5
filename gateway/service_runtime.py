"""Runtime: the one background thread of a service. Its event loop has a hub for each device that cameras asked for.

Other threads hand it coroutines with `call` and `spawn`, and touch nothing of it themselves.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Literal, TypeVar, get_args

from gateway.engine.hub import Hub
from gateway.errors import AtCapacity, UnknownOption
from gateway.settings import Runtime as RuntimeSettings
from gateway.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_S = 0.5  # how often a caller looks whether the thread it waits for is still there

DeviceName = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]


class Over(RuntimeError):
    """The runtime has ended, or is about to."""

    def __init__(self) -> None:
        super().__init__("the service has ended, or is about to")


@dataclass(frozen=True, slots=True)
class Device:
    """What models run on; two cameras of one device share their models."""

    name: DeviceName = "auto"
    gpu: int = 0


def device_of(text: str | None, settings: RuntimeSettings) -> Device:
    """`cpu`, `cuda`, `cuda:1`, `mps`; None: what the settings say, where `auto` is the best there is.

    Raises `UnknownOption`.
    """
    name, _, number = (text or settings.device).lower().partition(":")
    if name == "mps":
        log.warning("device mps: ONNX Runtime has no such device here; the best one there is is used")
        name, number = "auto", ""
    if name not in get_args(DeviceName) or (number and not number.isdecimal()):
        raise UnknownOption(f"device is cuda, cuda:N, mps or cpu, got {str(text)[:40]!r}", code="unknown_device")
    chosen: Any = "cpu" if name == "auto" and not _may_have_gpu() else name
    return Device(chosen, int(number) if number else settings.gpu if chosen != "cpu" else 0)


def _may_have_gpu() -> bool:
    """Whether the best device can be another one than the CPU: if not, who asks for either shares one set of models."""
    try:
        distribution("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return True


def _settings_for(device: Device, settings: Settings) -> Settings:
    runtime = settings.runtime.model_copy(update={"device": device.name, "gpu": device.gpu})
    return settings.model_copy(update={"runtime": runtime, "port": 0})


async def _settle(answer: concurrent.futures.Future[T], work: Callable[[], Coroutine[Any, Any, T]]) -> None:
    """Do the work for a thread that waits for the answer."""
    try:
        answer.set_result(await work())
    except asyncio.CancelledError:
        answer.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - whoever waits for it raises it
        answer.set_exception(error)


class Runtime:
    """Begins with `start`, ends with `stop`; both once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._failure: Exception | None = None  # it never got ready
        self._thread = threading.Thread(target=self._run, name="framegate", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._through = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._group: asyncio.TaskGroup | None = None
        self._hubs: dict[Device, asyncio.Future[Hub]] = {}

    # --- from any thread ---------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether it can be asked for anything. After a fork it cannot: threads stay behind."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def start(self) -> None:
        """Raises what keeps the thread from its work: `OSError` if the settings' `home` cannot be made."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin something that goes on until it is told to end; `stop` waits for it. Raises `Over`."""
        self._later(lambda: self._begin(work()))

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for something that is done on the loop; what it raises, this raises. Raises `Over` too."""
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._later(lambda: self._begin(_settle(answer, work)) or answer.cancel())
        while not concurrent.futures.wait([answer], LOOK_S).done:
            if not self.alive and not answer.done():
                raise Over
        try:
            return answer.result()
        except concurrent.futures.CancelledError:
            raise Over from None

    def stop(self, within_s: float) -> bool:
        """Have everything end and wait for it; whether it did in time. Any number of threads may call this."""
        if self.alive:
            with suppress(Over):
                self._later(self._over.set)
            self._thread.join(within_s)
        return not self.alive

    def _later(self, what: Callable[[], object]) -> None:
        if self._loop is None or not self.alive:
            raise Over
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # it was closed just now
            raise Over from None

    # --- on the loop -------------------------------------------------------------------------------------------------

    async def hub(self, device: Device) -> Hub:
        """The hub for a device, started for whoever asks first. Raises `AtCapacity` if it cannot be had."""
        if device not in self._hubs:
            if self._group is None or self._over.is_set():
                raise AtCapacity("the service is shutting down", code="draining")
            self._hubs[device] = asyncio.get_running_loop().create_future()
            self._group.create_task(self._keep(device, self._hubs[device]), name=f"hub {device.name}")
        return await asyncio.shield(self._hubs[device])

    async def _keep(self, device: Device, ready: asyncio.Future[Hub]) -> None:
        """A hub's life. A defect of ours costs the cameras of this device a new start."""
        hub = Hub(_settings_for(device, self._settings))
        try:
            async with hub.running():
                ready.set_result(hub)
                await self._through.wait()
        except* Exception as group:
            log.exception("the engine for device %s broke", device.name)
            if not ready.done():
                ready.set_exception(AtCapacity(f"the engine does not start: {group.exceptions[0]}"))
        finally:
            del self._hubs[device]

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        if self._tasks is None or self._over.is_set():
            work.close()
            return None
        return self._tasks.create_task(work)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except Exception as error:
            if self._ready.is_set():
                log.exception("the service broke; its cameras have stopped")
            else:
                self._failure = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings.home.mkdir(parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as self._group:
            try:
                async with asyncio.TaskGroup() as self._tasks:
                    self._ready.set()
                    await self._over.wait()
            finally:
                self._through.set()

    async def over(self) -> None:
        """Wait until everything is to end."""
        await self._over.wait()
