"""View: the upper body of one person, cut out and brought to one scale.

A detector learns what a cigarette looks like at the size it has in its training pictures, and those are close ones. In
a whole frame it is smaller than that for somebody far away, and larger in a close-up; both cost. So each person is cut
out around head and hands, and scaled until the head is `HEAD` px high, whatever the camera. That it need not be exact
shows in what two sets of weights saw in 40 stills, a smoker's clip and a singer's: between 80 and 125 px cigarettes are
told from other things about equally well (area under the curve 0.94 to 0.97 for the stills, 0.95 to 0.99 for the two
clips), at 50 and 64 px worse; in whole pictures at 416 px 0.91.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gateway import Box

if TYPE_CHECKING:
    from analyzers._letterbox import Pixels
    from gateway import Frame

HEAD = 100  # px of a head in the view
MOST_ENLARGED = 2.0  # more adds pixels, but nothing to be seen
LEAST_HEAD = 16  # px of a head in the frame: a cigarette, 8 mm against 230, is half a px thick there
BODY_HEADS = 7.5  # heads in a standing person; the artist's canon
STANDING, CUT_OFF = 3.0, 2.0  # heads in the width of a whole person, and of one seen from head to chest
EDGE = (
    0.95  # a box that ends below this line of the frame goes on outside it; boxes at an edge end a little short of it
)
ABOVE = 0.5  # heads of room above the crown


def head_height(person: Box, width: int, height: int) -> float:
    """About how high a person's head is, in px of a frame of that size.

    Of a standing person his height tells it, of a sitting one his width, and of one cut off by the lower edge the width
    of his shoulders. Right to a factor of 1.5, or 2 in distorted pictures: good enough to choose a scale, and for rules
    with such margins.
    """
    heads = CUT_OFF if is_cut_off(person) else STANDING
    return max(person.height * height / BODY_HEADS, person.width * width / heads)


def is_cut_off(person: Box) -> bool:
    """Whether the lower edge of the frame cuts a person off."""
    return person.y2 > EDGE


@dataclass(frozen=True, slots=True)
class View:
    """The part `place` (x1 y1 x2 y2 in px) of a frame of size `frame`, seen at `scale`, perhaps `mirrored`."""

    place: tuple[int, int, int, int]
    frame: tuple[int, int]
    scale: float
    mirrored: bool = False

    @classmethod
    def of(cls, frame: Frame, person: Box, side: int) -> View | None:
        """The upper body in `side` x `side` px; None for somebody too small to be judged.

        At an edge of the frame it shows more of the other side; of a frame that is too small for that, all there is.
        """
        head = head_height(person, frame.width, frame.height)
        if head < LEAST_HEAD:
            return None
        scale = min(HEAD / head, MOST_ENLARGED)
        extent = round(side / scale)
        left = _within(round(person.center[0] * frame.width - extent / 2), extent, frame.width)
        top = _within(round(person.y1 * frame.height - ABOVE * head), extent, frame.height)
        place = left, top, min(left + extent, frame.width), min(top + extent, frame.height)
        return cls(place, (frame.width, frame.height), scale)

    @classmethod
    def whole(cls, frame: Frame, side: int) -> View:
        """All of it, its longer side `side` px or as it is."""
        size = frame.width, frame.height
        return cls((0, 0, *size), size, min(1.0, side / max(size)))

    def picture(self, pixels: Pixels) -> Pixels:
        """What is to be looked at, from the px of the whole frame."""
        x1, y1, x2, y2 = self.place
        size = max(1, round((x2 - x1) * self.scale)), max(1, round((y2 - y1) * self.scale))
        method = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        part: Pixels = cv2.resize(pixels[y1:y2, x1:x2], size, interpolation=method)  # type: ignore[assignment]
        return np.ascontiguousarray(part[:, ::-1]) if self.mirrored else part

    def in_frame(self, box: Box) -> Box:
        """A box of that picture, as a box of the frame."""
        left, right = (1 - box.x2, 1 - box.x1) if self.mirrored else (box.x1, box.x2)
        (x1, y1, x2, y2), (width, height) = self.place, self.frame
        xs = [(x1 + x * (x2 - x1)) / width for x in (left, right)]
        ys = [(y1 + y * (y2 - y1)) / height for y in (box.y1, box.y2)]
        return Box.clipped(xs[0], ys[0], xs[1], ys[1])


def _within(begin: int, extent: int, size: int) -> int:
    """Where a stretch begins that is moved so that it lies inside `size`; at 0 if it is longer."""
    return max(0, min(begin, size - extent))
