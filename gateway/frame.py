"""Frame: one picture of one session, immutable, decoded only when somebody asks for pixels.

The JPEG bytes are the frame; width and height come from its header. Pixels are reached through methods so that the
cost is visible at the call, are decoded at most once per size and process, and are shared read-only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.errors import BadImage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gateway.results import Result

    Pixels = npt.NDArray[np.uint8]  # (H, W, 3), BGR


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of one session.

    `seq` counts from 0 within the session, gaps allowed. `received_at` is the gateway's monotonic clock in seconds,
    `at` the same moment on the session's own clock (seconds since it opened, never backwards, following the sender's
    capture times where they make sense): analyzers measure time with `at`. `captured_at` is what the sender claims.
    `width` and `height` are upright px. `results` holds what the analyzers named in `needs` saw in this very frame.
    """

    seq: int
    received_at: float
    width: int
    height: int
    jpeg: bytes = field(repr=False)
    captured_at: datetime | None = None
    at: float = 0.0
    results: Mapping[str, Result] = field(default_factory=dict, repr=False)
    _decoded: dict[int, Pixels] = field(default_factory=dict, repr=False)  # by reduction, or minus the longer side
    _wish: int = field(default=0, repr=False)  # the longer side in px that will be asked for, if the host knows

    def to_bgr(self) -> Pixels:
        """The whole picture as (height, width, 3) uint8 BGR, read-only. Raises `BadImage` if it does not decode."""
        return self._decode(1)

    def scaled(self, side: int) -> Pixels:
        """The picture with its longer side at most `side` px, as (h, w, 3) uint8 BGR, read-only.

        Never enlarges. Decodes at 1/2, 1/4 or 1/8 where that is enough for everybody who looks (a DCT-domain shortcut,
        about half the cost), then resizes by area; a picture that is there already is not decoded again.
        """
        import cv2

        longest = max(self.width, self.height)
        if longest <= side:
            return self.to_bgr()
        key = -side
        if key not in self._decoded:
            picture = self._at_least(side)
            ratio = side / longest
            size = (max(1, round(self.width * ratio)), max(1, round(self.height * ratio)))
            if picture.shape[1::-1] != size:
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            self._decoded[key] = _sealed(picture)
        return self._decoded[key]

    def prepare(self) -> None:
        """Decode now what will be asked for; called by the host, on whatever thread has time. Raises `BadImage`."""
        self._at_least(self._wish)

    def _at_least(self, side: int) -> Pixels:
        """A decoded picture that is large enough: the smallest there is, else one that is enough for every wish."""
        enough = self._reduction(side)
        there = [reduction for reduction in self._decoded if 0 < reduction <= enough]
        return self._decode(max(there) if there else min(enough, self._reduction(self._wish)))

    def _reduction(self, side: int) -> int:
        longest = max(self.width, self.height)
        return next((factor for factor in (8, 4, 2) if longest >= side * factor), 1)

    def _decode(self, reduction: int) -> Pixels:
        if reduction not in self._decoded:
            self._decoded[reduction] = _sealed(decode(self.jpeg, reduction=reduction))
        return self._decoded[reduction]


def decode(data: bytes, *, reduction: int = 1) -> Pixels:
    """Decode any picture OpenCV reads to upright BGR at 1/`reduction` (1, 2, 4, 8) size. Raises `BadImage`."""
    import cv2
    import numpy as np

    flag = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }[reduction]
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:  # larger than OpenCV itself allows, or nothing at all
        picture = None
    if picture is None:
        raise BadImage("the picture does not decode")
    return picture  # type: ignore[return-value]


def _sealed(picture: Pixels) -> Pixels:
    picture.setflags(write=False)
    return picture


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as on the wire: `2026-11-21T06:49:09.123Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
