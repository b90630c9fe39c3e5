"""Walkers: scenes made on the spot whose truth is exact, and a detector that misses, errs and trembles.

Everybody walks as a function of time, so a scene can be seen at any rate. Who stands lower in the picture is nearer and
hides who is behind; of somebody hidden by more than 70 % there is neither truth nor detection, of somebody half hidden
only a weak detection of what is visible.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway import Box, Detection

ASPECT = 16 / 9
HIDDEN, HALF = 0.3, 0.6  # visible shares
SLIMNESS = 0.38  # of a person: width by height

Place = Callable[[float], tuple[float, float, float] | None]  # at a time: foot x, foot y, height; None: not there


@dataclass(frozen=True, slots=True)
class Walker:
    id: int
    place: Place

    def box(self, at: float) -> tuple[float, float, float, float] | None:
        """Corners, which may lie outside of the picture."""
        found = self.place(at)
        if found is None:
            return None
        x, y, height = found
        half = height * SLIMNESS / ASPECT / 2
        return x - half, y - height, x + half, y


@dataclass(frozen=True, slots=True)
class Scene:
    name: str
    seconds: float
    walkers: tuple[Walker, ...]
    pillars: tuple[Box, ...] = ()  # in front of everybody


@dataclass(frozen=True, slots=True)
class Look:
    """One picture: when, who is there, and what the detector says."""

    at: float
    truth: tuple[tuple[int, Box], ...]
    found: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Detector:
    """`misses`: share of persons it does not see; `weak`: share it is unsure of; `false`: boxes of nobody per picture,
    mostly of low score; `tremble`: standard deviation of each edge, in heights of the box; `cut`: share of boxes that
    end somewhere between hip and knee."""

    misses: float = 0.15
    weak: float = 0.1
    false: float = 0.3
    tremble: float = 0.02
    cut: float = 0.05


def looks(scene: Scene, fps: float, detector: Detector, seed: int = 0) -> Iterator[Look]:
    """The scene, so many pictures a second."""
    chance = random.Random(seed)
    for number in range(round(scene.seconds * fps)):
        at = number / fps
        visible = list(_visible(scene, at))
        truth = tuple((id_, box) for id_, box, _ in visible)
        found = [one for _, box, share in visible for one in _seen(box, share, detector, chance)]
        while chance.random() < detector.false / (1 + detector.false):
            found.append(_nobody(chance))
        chance.shuffle(found)
        yield Look(at, truth, tuple(found))


def _visible(scene: Scene, at: float) -> Iterator[tuple[int, Box, float]]:
    """Whoever is visible enough: id, box within the picture, and the share of it that nothing stands before."""
    there = [(walker.id, corners) for walker in scene.walkers if (corners := walker.box(at))]
    boxes = [(id_, Box.clipped(*corners), _area(corners)) for id_, corners in there]
    for id_, box, area in boxes:
        nearer = [other for who, other, _ in boxes if who != id_ and other.y2 > box.y2] + list(scene.pillars)
        hidden = max((box.intersection(other) for other in nearer), default=0.0)
        share = (box.area - hidden) / area
        if share > HIDDEN:
            yield id_, box, share


def _area(corners: Sequence[float]) -> float:
    return (corners[2] - corners[0]) * (corners[3] - corners[1])


def _seen(box: Box, share: float, detector: Detector, chance: random.Random) -> Iterator[Detection]:
    luck = chance.random()
    if luck < detector.misses:
        return
    unsure = share < HALF or luck < detector.misses + detector.weak
    score = chance.uniform(0.08, 0.24) if unsure else min(0.95, max(0.3, chance.gauss(0.65, 0.12)))
    off = [chance.gauss(0, detector.tremble * box.height) for _ in range(4)]
    if chance.random() < detector.cut:
        off[3] -= chance.uniform(0.25, 0.5) * box.height
    moved = box.x1 + off[0] / ASPECT, box.y1 + off[1], box.x2 + off[2] / ASPECT, box.y2 + off[3]
    yield Detection("person", score, Box.clipped(*moved))


def _nobody(chance: random.Random) -> Detection:
    height, x, y = chance.uniform(0.1, 0.4), chance.random(), chance.uniform(0.3, 1)
    half = height * SLIMNESS / ASPECT / 2
    score = min(0.9, 0.05 + chance.expovariate(6))
    return Detection("person", score, Box.clipped(x - half, y - height, x + half, y))


# --- scenes ----------------------------------------------------------------------------------------------------------


def straight(start: tuple[float, float], speed: tuple[float, float], height: float, since: float = 0.0) -> Place:
    """From a foot point on, straight ahead. `speed` in own heights a second."""

    def place(at: float) -> tuple[float, float, float] | None:
        if at < since:
            return None
        x = start[0] + speed[0] * height / ASPECT * (at - since)
        return x, start[1] + speed[1] * height * (at - since), height

    return place


def still(x: float, y: float, height: float) -> Place:
    return straight((x, y), (0, 0), height)


def crossing() -> Scene:
    """Two pass each other, the nearer one hiding the other for a moment."""
    near = straight((-0.05, 0.95), (0.8, 0), 0.5)
    far = straight((1.05, 0.85), (-0.9, 0), 0.42)
    return Scene("crossing", 6, (Walker(1, near), Walker(2, far)))


def pillar() -> Scene:
    """One walks behind a pillar and comes out again after a second and a half, one stands beside it."""
    post = Box(0.45, 0.1, 0.64, 1.0)
    return Scene(
        "pillar", 8, (Walker(1, straight((0.0, 0.9), (0.7, 0), 0.45)), Walker(2, still(0.72, 0.8, 0.4))), (post,)
    )


def runner() -> Scene:
    """One runs past three who stand."""
    standing = tuple(Walker(n + 1, still(0.25 * (n + 1), 0.8, 0.4)) for n in range(3))
    return Scene("runner", 5, (*standing, Walker(9, straight((-0.1, 0.95), (2.2, 0), 0.45))))


def square(walkers: int = 9, seconds: float = 20, seed: int = 1) -> Scene:
    """A square as a high camera sees it: people come and go in all directions, some stop for a while."""
    chance = random.Random(seed)
    return Scene("square", seconds, tuple(Walker(n + 1, _stroll(chance, seconds)) for n in range(walkers)))


def _stroll(chance: random.Random, seconds: float) -> Place:
    """Straight through, with one stop on the way. Who is further up is further away, so smaller."""
    since, direction = chance.uniform(-8, seconds / 2), chance.choice([-1, 1])
    y, slope, pace = chance.uniform(0.45, 0.9), chance.uniform(-0.15, 0.15), chance.uniform(0.6, 1.1)
    stop, rest = chance.uniform(2, 8), chance.choice([0.0, 0.0, 3.0])

    def place(at: float) -> tuple[float, float, float] | None:
        walked = min(at - since, stop) + max(0.0, at - since - stop - rest)
        foot = y + slope * pace * 0.3 * walked / 4
        height = 0.12 + 0.28 * foot
        x = (-0.1 if direction > 0 else 1.1) + direction * pace * height / ASPECT * walked
        return (x, foot, height) if walked >= 0 and -0.15 < x < 1.15 else None

    return place


def scenes() -> tuple[Scene, ...]:
    return crossing(), pillar(), runner(), square(seed=1), square(14, seed=2)
