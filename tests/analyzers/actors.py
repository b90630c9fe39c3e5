"""A room with a camera, drawn, and somebody in it who does as told: frames with what a detector would see of him."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from gateway.results import Box, Detection, Result
from tests.analyzers.stage import frame_of

if TYPE_CHECKING:
    from typing import Any

    from gateway.frame import Frame, Pixels

    Picture = np.ndarray[Any, Any]

WIDTH, HEIGHT = 320, 180
ASPECT = WIDTH / HEIGHT
TALL, SLIM = 0.5, 0.16  # of somebody who stands, in heights of the picture


class Pose(NamedTuple):
    """In heights of the picture. `score`: the detector's; 0: it misses him. `seen`: False where nobody can see him."""

    x: float
    foot: float
    width: float = SLIM
    height: float = TALL
    score: float = 0.8
    seen: bool = True


Act = Callable[[float], Pose | None]


def room(seed: int = 1, scale: int = 12) -> Picture:
    """A grey picture with large and small things in it."""
    random = np.random.default_rng(seed)
    large = cv2.resize(random.integers(40, 200, (HEIGHT // scale, WIDTH // scale)).astype(np.float32), (WIDTH, HEIGHT))
    return np.clip(large + random.normal(0, 6, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)


def rect(pose: Pose) -> tuple[int, int, int, int]:
    return _box(pose).to_pixels(WIDTH, HEIGHT)


def _box(pose: Pose) -> Box:
    half = pose.width / 2
    return Box.clipped((pose.x - half) / ASPECT, pose.foot - pose.height, (pose.x + half) / ASPECT, pose.foot)


def drawn(background: Picture, pose: Pose | None) -> Picture:
    picture = background.copy()
    if pose is not None and pose.seen:
        x1, y1, x2, y2 = rect(pose)
        shirt = np.where(np.indices((y2 - y1, x2 - x1)).sum(axis=0) // 4 % 2 == 0, 235, 15)
        picture[y1:y2, x1:x2] = shirt
    return picture


def scene(act: Act, seconds: float, *, fps: float = 10.0, seed: int = 1, start: float = 0.0) -> Iterator[Frame]:
    """Frames of one room, with results of `objects`."""
    background = room(seed)
    for index in range(round(seconds * fps)):
        at = index / fps
        pose = act(at)
        found = [] if pose is None or not pose.seen or _box(pose).area <= 0 else [pose]
        strong = [Detection("person", one.score, _box(one)) for one in found if one.score >= 0.25]
        weak = [Detection("person", one.score, _box(one)) for one in found if 0.05 <= one.score < 0.25]
        objects = Result(tuple(strong), faint=tuple(weak))
        yield frame_of(drawn(background, pose), at=start + at, seq=index, objects=objects)


def stand(x: float, foot: float = 0.8, tall: float = TALL) -> Act:
    return lambda at: Pose(x, foot, tall * SLIM / TALL, tall)


def blend(one: Pose, other: Pose, share: float) -> Pose:
    x, foot, width, height, score = (a + (b - a) * share for a, b in zip(one[:5], other[:5], strict=True))
    return Pose(x, foot, width, height, score)


def move(*steps: tuple[float, Pose], accelerated: bool = False) -> Act:
    """From pose to pose, each reached at its time; falling bodies speed up."""

    def act(at: float) -> Pose:
        if at <= steps[0][0]:
            return steps[0][1]
        for (begin, one), (end, other) in pairwise(steps):
            if at <= end:
                share = (at - begin) / (end - begin)
                return blend(one, other, share**2 if accelerated else share)
        return steps[-1][1]

    return act


def coloured(grey: Picture) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
