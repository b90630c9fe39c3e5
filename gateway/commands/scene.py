"""The demo's scene: a drawn yard with people and a bag, and the truth about what moves in it when.

One period of PERIOD_S seconds repeats for ever. `SCRIPT` is the only place that says where everything is at which
second; the pictures and the truth are both read from it, so they cannot disagree. Coordinates are px of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from gateway.frame import Pixels

WIDTH, HEIGHT = 640, 360
PERIOD_S = 20.0
QUALITY = 85

GROUND = 300  # y of people's feet and of the bag's bottom
OUTSIDE = 30  # how far beyond the edge a walker is just out of sight
NOISE = 2.0  # sigma of the sensor's noise, in grey levels
NOISES = 8  # different noise pictures, used in turn


@dataclass(frozen=True, slots=True)
class Interval:
    """Something moves from `start` to `end`, in seconds since the scene began."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Walk:
    """Going from x to x in a time; before and after it the walker stands there."""

    start: float
    end: float
    from_x: float
    to_x: float

    def x(self, at: float) -> float:
        part = min(1.0, max(0.0, (at - self.start) / (self.end - self.start)))
        return self.from_x + (self.to_x - self.from_x) * part


@dataclass(frozen=True, slots=True)
class Person:
    """One walker: where he goes, how tall he is (px), what he wears (BGR)."""

    walks: tuple[Walk, ...]
    height: int
    coat: tuple[int, int, int]
    legs: tuple[int, int, int]

    def x(self, at: float) -> float:
        """Where he stands `at` seconds into the period."""
        begun = [walk for walk in self.walks if at >= walk.start] or [self.walks[0]]
        return begun[-1].x(at)

    def walking(self, at: float) -> bool:
        return any(walk.start < at < walk.end for walk in self.walks)


OWNER = Person(  # comes in with a bag, stands, goes on without it
    walks=(Walk(2.0, 5.5, -OUTSIDE, 290), Walk(8.5, 11.5, 290, WIDTH + OUTSIDE)),
    height=150,
    coat=(70, 40, 30),
    legs=(60, 60, 60),
)
FINDER = Person(  # crosses the yard the other way and takes the bag along
    walks=(Walk(14.5, 18.0, WIDTH + OUTSIDE, -OUTSIDE),),
    height=135,
    coat=(40, 40, 150),
    legs=(50, 40, 35),
)
SCRIPT = (OWNER, FINDER)

CARRY = 26  # px between a walker's middle and the bag in his hand
LEFT_AT = OWNER.walks[1].start  # when the bag stays where it is
LEFT_X = OWNER.walks[0].to_x - CARRY


def truth(duration: float) -> Iterator[Interval]:
    """Every interval of motion that begins within `duration` seconds, in order, whole even if it ends later."""
    for period in count():
        for walk in sorted((walk for person in SCRIPT for walk in person.walks), key=lambda walk: walk.start):
            start = period * PERIOD_S + walk.start
            if start >= duration:
                return
            yield Interval(start, period * PERIOD_S + walk.end)


class Scene:
    """Draws the yard at any second. Not cheap to make (it paints the background once), cheap to ask."""

    def __init__(self, seed: int = 7) -> None:
        random = np.random.default_rng(seed)
        self._yard = _yard(random)
        self._noise = [random.normal(0, NOISE, (HEIGHT, WIDTH, 3)).astype(np.int16) for _ in range(NOISES)]
        self._drawn = 0

    def picture(self, at: float) -> Pixels:
        """The yard `at` seconds after the scene began, as (360, 640, 3) uint8 BGR, with fresh noise."""
        at %= PERIOD_S
        picture = self._yard.copy()
        for person in SCRIPT:
            _draw_person(picture, person, at)
        _draw_bag(picture, *_bag(at))
        self._drawn += 1
        noisy = picture.astype(np.int16) + self._noise[self._drawn % NOISES]
        return noisy.clip(0, 255).astype(np.uint8)

    def jpeg(self, at: float) -> bytes:
        return cv2.imencode(".jpg", self.picture(at), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _bag(at: float) -> tuple[float, float]:
    """The bag's middle and bottom: in the owner's hand, on the ground, in the finder's hand."""
    taken = FINDER.x(at) - CARRY
    if at < LEFT_AT:
        return OWNER.x(at) - CARRY, GROUND
    if FINDER.walks[0].start <= at and taken <= LEFT_X:
        return taken, GROUND - 12
    return LEFT_X, GROUND


def _yard(random: np.random.Generator) -> Pixels:
    """A wall with windows and a door above a paved ground, grainy as stone is, and never changing."""
    yard = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    yard[:220] = (150, 160, 165)
    yard[220:] = (135, 138, 140)
    for y in range(220, HEIGHT, 28):
        cv2.line(yard, (0, y), (WIDTH, y), (115, 118, 120), 1)
    for x in range(-400, WIDTH + 400, 70):
        cv2.line(yard, (320 + (x - 320) // 2, 220), (x, HEIGHT), (115, 118, 120), 1)
    for x in (60, 190, 450, 560):
        cv2.rectangle(yard, (x, 50), (x + 60, 130), (100, 95, 85), -1)
        cv2.rectangle(yard, (x, 50), (x + 60, 130), (190, 195, 200), 3)
    cv2.rectangle(yard, (320, 90), (380, 220), (60, 80, 110), -1)
    grain = cv2.GaussianBlur(random.normal(0, 22, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1.5)
    return (yard + grain[..., None]).clip(0, 255).astype(np.uint8)


def _draw_person(picture: Pixels, person: Person, at: float) -> None:
    """Head, coat, two legs, two arms; the limbs swing while he walks and hang when he stands."""
    x, height = round(person.x(at)), person.height
    swing = round(np.sin(at * 9) * height * 0.11) if person.walking(at) else 0
    hip, shoulder = GROUND - round(height * 0.45), GROUND - round(height * 0.78)
    thick, wide = round(height * 0.09), round(height * 0.14)
    for side in (-1, 1):
        cv2.line(picture, (x + side * 5, hip), (x + side * (5 + swing), GROUND), person.legs, thick, cv2.LINE_AA)
    cv2.rectangle(picture, (x - wide, shoulder), (x + wide, hip + 6), person.coat, -1)
    for side in (-1, 1):
        hand = (x + side * wide - side * swing, hip)
        cv2.line(picture, (x + side * wide, shoulder + 4), hand, person.coat, thick - 3, cv2.LINE_AA)
    cv2.circle(picture, (x, shoulder - round(height * 0.1)), round(height * 0.09), (130, 160, 205), -1, cv2.LINE_AA)


def _draw_bag(picture: Pixels, x: float, bottom: float) -> None:
    left, right, top, bottom = round(x) - 17, round(x) + 17, round(bottom) - 28, round(bottom)
    cv2.ellipse(picture, (round(x), top), (9, 9), 0, 180, 360, (20, 30, 40), 3, cv2.LINE_AA)
    cv2.rectangle(picture, (left, top), (right, bottom), (35, 60, 95), -1)
    cv2.rectangle(picture, (left, top), (right, bottom), (20, 30, 40), 2)
