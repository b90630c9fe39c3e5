"""Snapshots: forms of the newest frame for who asks once, each made once, however many ask."""

from __future__ import annotations

import asyncio

from gateway.engine.picture import Overlay, Painter, Variant
from gateway.errors import GatewayError
from gateway.frame import Frame


class Snapshots:
    """At most `most` forms of one frame. Who asks while a form is being made waits for that one."""

    def __init__(self, painter: Painter, *, most: int) -> None:
        self._painter = painter
        self._most = most
        self._turn = asyncio.Lock()
        self._frame: Frame | None = None
        self._made: dict[Variant, bytes] = {}
        self._failed: dict[Variant, tuple[int, GatewayError]] = {}  # with the number of who asked last by then
        self._asked = 0

    async def get(self, frame: Frame, variant: Variant, overlay: Overlay) -> bytes:
        """A frame in this form. Raises as `Painter.redraw`, for everybody who waits for the same."""
        if frame is not self._frame:
            self._frame, self._made, self._failed = frame, {}, {}
        made, failed = self._made, self._failed  # a later frame begins new ones
        self._asked += 1
        number = self._asked
        async with self._turn:
            if variant in made:
                return made[variant]
            last, error = failed.get(variant, (0, None))
            if error is not None and number <= last:
                raise error.with_traceback(None)
            while len(made) >= self._most:
                del made[next(iter(made))]
            try:
                made[variant] = await self._painter.redraw(frame, variant, overlay)
            except GatewayError as failure:
                failed[variant] = self._asked, failure  # who asks later may have more luck
                raise
            return made[variant]
