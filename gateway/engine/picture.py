"""Pictures on their way out: one JPEG, N viewers, the bytes shared.

An outlet is one form of a session's pictures (as they came, or with boxes, or smaller) with everybody who watches it.
The raw outlet passes frames on; a redrawn one asks the picture worker once per frame, whatever the number of viewers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.engine.mailbox import Closed, Mailbox
from gateway.engine.process import ChildProcess, WorkerDied
from gateway.engine.wire import Header
from gateway.errors import BadImage, GatewayError, ImageTooLarge, NoPicture
from gateway.frame import Frame
from gateway.jpeg import turned

if TYPE_CHECKING:
    from gateway.engine.subscriber import Subscriber

log = logging.getLogger(__name__)

T = TypeVar("T")

JOB_S = 5.0  # a picture that takes longer is given up, with the worker
MOST_WAITING = 64  # pictures; each may hold a megabyte, and who waits longer than this has no use for it
START_S = 30.0  # the first one waits for OpenCV to load

Overlay = Mapping[str, Any]  # analyzer name -> its result as JSON; what was drawn into the picture stands under DRAWN
DRAWN = ""  # no analyzer's name


@dataclass(slots=True, eq=False)
class Picture:
    """A frame as viewers get it. `once` keeps each transport's wrapping of it, so that all its viewers share that."""

    frame: Frame
    jpeg: bytes = field(repr=False)
    state: str = "live"
    _forms: dict[str, Any] = field(default_factory=dict, repr=False)

    def once(self, form: str, make: Callable[[Picture], T]) -> T:
        if form not in self._forms:
            self._forms[form] = make(self)
        made: T = self._forms[form]
        return made


@dataclass(frozen=True, slots=True)
class Variant:
    """What is done to a picture before it goes out. Few values each, so that few are made.

    Whatever is made is upright; `upright` asks for that alone, for readers that pass over the orientation in a file.
    """

    draw: bool = False
    zones: bool = False
    width: int | None = None
    quality: int | None = None
    mirror: bool = False
    upright: bool = False

    @property
    def raw(self) -> bool:
        return not (self.remade or self.upright)

    @property
    def remade(self) -> bool:
        """Whether every picture has to be made anew."""
        return self.overlaid or self.mirror or self.width is not None or self.quality is not None

    @property
    def overlaid(self) -> bool:
        """Whether something is drawn on it."""
        return self.draw or self.zones

    def leaves(self, frame: Frame) -> bool:
        """Whether a frame is in this form as it came."""
        return not self.remade and not (self.upright and turned(frame.jpeg))


class Painter:
    """The picture worker: draws, scales and transcodes in a process of its own, started when first needed."""

    def __init__(self, *, environment: Mapping[str, str], nice: int, quality: int, lines_per_s: float = 5.0) -> None:
        self._child = ChildProcess("picture", environment=environment, nice=nice, lines_per_s=lines_per_s)
        self._quality = quality
        self._turn = asyncio.Lock()
        self._running = False
        self._last_id = 0
        self._waiting = 0
        self.encodes = 0

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def lines_left_out(self) -> int:
        """Lines of its standard error that were too many for the log."""
        return self._child.lines_left_out

    async def redraw(self, frame: Frame, variant: Variant, overlay: Overlay) -> bytes:
        """The frame's JPEG in another form. Raises `BadImage` if it does not decode."""
        order: dict[str, Any] = {"do": "redraw", "width": variant.width, "quality": variant.quality or self._quality}
        if variant.mirror:
            order["mirror"] = True
        if variant.overlaid:
            order |= {"overlay": overlay, "boxes": variant.draw, "zones": variant.zones}
        return await self._ask(order, frame.jpeg)

    async def to_jpeg(self, image: bytes, *, max_pixels: int) -> bytes:
        """A PNG, WebP or odd JPEG as an ordinary JPEG. Raises `BadImage`, or `ImageTooLarge` through its header."""
        return await self._ask({"do": "transcode", "quality": 90, "max_pixels": max_pixels}, image)

    async def slate(self, lines: list[str], width: int, height: int) -> bytes:
        """A plain picture with words on it, for viewers of a stream that has nothing to show."""
        return await self._ask({"do": "slate", "lines": lines, "width": width, "height": height, "quality": 80}, b"")

    async def _ask(self, order: dict[str, Any], payload: bytes) -> bytes:
        if self._waiting >= MOST_WAITING:
            raise NoPicture("the picture worker has too much to do", code="picture_worker", retry_after_s=1)
        self._waiting += 1
        try:
            async with self._turn:  # one job in flight; the lock is fair, so variants take turns
                answer, jpeg = await self._job(order, payload)
        finally:
            self._waiting -= 1
        if error_text := answer.get("error"):
            kind = ImageTooLarge if answer.get("code") == ImageTooLarge.code else BadImage
            raise kind(error_text, code=answer.get("code"))
        self.encodes += 1
        return jpeg

    async def _job(self, order: dict[str, Any], payload: bytes) -> tuple[Header, bytes]:
        """One job, in the running worker. Who gives up waiting leaves it running: the next one skips that answer."""
        try:
            async with asyncio.timeout(JOB_S if self._running else START_S):
                if not self._running:
                    await self._child.close()  # of a start that was given up
                    await self._child.start()
                    await self._child.receive()
                    self._running = True
                self._last_id += 1
                self._child.send({**order, "id": self._last_id}, payload)
                while True:
                    answer, jpeg = await self._child.receive()
                    if answer["id"] == self._last_id:
                        return answer, jpeg
        except (WorkerDied, TimeoutError) as error:
            self._running = False
            await self._child.close()
            raise NoPicture("the picture worker gave up on this picture", code="picture_worker") from error

    async def close(self) -> None:
        await self._child.close()


class Outlet:
    """One form of a session's pictures, and who watches it. The raw form: frames as they came."""

    variant = Variant()

    def __init__(self) -> None:
        self.viewers: set[Subscriber] = set()
        self.latest: Picture | None = None

    def put(self, frame: Frame, overlay: Overlay) -> None:
        self.send(Picture(frame, frame.jpeg))

    def send(self, picture: Picture) -> None:
        self.latest = picture
        for viewer in self.viewers:
            viewer.put_picture(picture)


class RedrawnOutlet(Outlet):
    """A form that has to be made, or may have to be: once per frame, newest frame first. `run()` is its task."""

    def __init__(self, variant: Variant, painter: Painter) -> None:
        super().__init__()
        self.variant = variant
        self.failed = 0
        self._painter = painter
        self._orders: Mailbox[tuple[Frame, Overlay]] = Mailbox(1)

    def put(self, frame: Frame, overlay: Overlay) -> None:
        if self.variant.leaves(frame):
            self._orders.take()  # one that waits is older
            super().put(frame, overlay)
        else:
            self._orders.put((frame, overlay))

    def close(self) -> None:
        """Nobody watches any more: `run()` ends, and what waits is not made."""
        self._orders.take()
        self._orders.close()

    async def run(self) -> None:
        while True:
            try:
                frame, overlay = await self._orders.get()
            except Closed:
                return
            try:
                jpeg = await self._painter.redraw(frame, self.variant, overlay)
            except GatewayError as error:
                self.failed += 1
                log.debug("frame %d: not redrawn: %s", frame.seq, error)
            else:
                if self.latest is None or self.latest.frame.seq <= frame.seq:  # no newer one went by meanwhile
                    self.send(Picture(frame, jpeg))
