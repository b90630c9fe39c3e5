"""Drawn scenes with persons and bags: who stands where is written down as a path, so what should be told is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from analyzers.bags import BagsAnalyzer, BagsOptions
from analyzers.tracks import TracksAnalyzer, TracksOptions
from gateway import Box, Detection, Result
from tests.analyzers.stage import frame_of, run

if TYPE_CHECKING:
    from typing import Any

    from gateway import Event, Frame

    Picture = np.ndarray[Any, Any]

WIDTH, HEIGHT = 320, 180
FPS = 5.0

Place = tuple[float, float]  # px: the middle of the lower edge


@dataclass(frozen=True)
class Person:
    """Somebody on a path of (at, x, y of his feet); there from the first point to the last."""

    path: Sequence[tuple[float, float, float]]
    coat: tuple[int, int, int] = (150, 60, 40)
    trousers: tuple[int, int, int] = (40, 40, 60)
    height: float = 80.0
    missed: Sequence[tuple[float, float]] = ()  # when the detector does not see him

    def at(self, time: float) -> Place | None:
        times = [point[0] for point in self.path]
        if not times[0] <= time <= times[-1]:
            return None
        return float(np.interp(time, times, [p[1] for p in self.path])), float(
            np.interp(time, times, [p[2] for p in self.path])
        )


@dataclass(frozen=True)
class Bag:
    """A thing at rest from `since` to `until`, carried by `by` before and by `taken` afterwards."""

    place: Place
    since: float
    until: float = 1e9
    by: Person | None = None
    taken: Person | None = None
    size: tuple[float, float] = (18.0, 24.0)
    colour: tuple[int, int, int] = (30, 35, 50)
    score: float = 0.0  # of the detector; 0: it has no class for it
    seen: Callable[[float], bool] = lambda at: True  # when the detector sees it

    def at(self, time: float) -> Place | None:
        if self.since <= time < self.until:
            return self.place
        carrier = self.by if time < self.since else self.taken
        held = carrier.at(time) if carrier else None
        return (held[0] + 14, held[1] - 12) if held else None


@dataclass(frozen=True)
class Scene:
    """What there is to see for `seconds`; `light` changes the finished picture."""

    persons: Sequence[Person]
    bags: Sequence[Bag] = ()
    seconds: float = 22.0
    fps: float = FPS
    noise: float = 2.0
    seed: int = 1
    light: Callable[[Picture, float], Picture] = lambda picture, at: picture

    def frames(self) -> Iterator[Frame]:
        for index in range(round(self.seconds * self.fps)):
            at = index / self.fps
            picture = self.light(self._drawn(at), at)
            grain = _grain(index % 7, self.noise)
            picture = np.clip(picture.astype(np.int16) + grain, 0, 255).astype(np.uint8)
            yield frame_of(picture, at=at, seq=index, quality=85, objects=Result(tuple(self._seen(at))))

    def _drawn(self, at: float) -> Picture:
        picture = hall(self.seed).copy()
        things: list[tuple[float, Callable[[], None]]] = []
        for bag in self.bags:
            if place := bag.at(at):
                things.append((place[1], partial(self._draw_bag, picture, bag, place)))
        for one in self.persons:
            if place := one.at(at):
                things.append((place[1], partial(self._draw_person, picture, one, place)))
        for _, draw in sorted(things, key=lambda thing: thing[0]):
            draw()
        return picture

    @staticmethod
    def _draw_person(picture: Picture, one: Person, place: Place) -> None:
        x, y = place
        tall, wide = one.height, one.height * 0.3
        _block(picture, (x - wide / 2, y - 0.5 * tall, x + wide / 2, y), one.trousers)
        _block(picture, (x - wide / 2, y - 0.85 * tall, x + wide / 2, y - 0.5 * tall), one.coat)
        cv2.circle(picture, (round(x), round(y - 0.92 * tall)), round(0.08 * tall), (120, 150, 200), -1)

    @staticmethod
    def _draw_bag(picture: Picture, bag: Bag, place: Place) -> None:
        x, y = place
        wide, tall = bag.size
        _block(picture, (x - wide / 2, y - tall, x + wide / 2, y), bag.colour)
        _block(picture, (x - wide / 4, y - 0.6 * tall, x + wide / 4, y - 0.4 * tall), (90, 100, 120))

    def _seen(self, at: float) -> Iterator[Detection]:
        for one in self.persons:
            place = one.at(at)
            if place and not any(start <= at < end for start, end in one.missed):
                wide = one.height * 0.32
                yield from _detection("person", 0.8, place, (wide, one.height))
        for bag in self.bags:
            place = bag.at(at)
            if place and bag.score and bag.seen(at):
                yield from _detection("suitcase", bag.score, place, bag.size)


def _detection(label: str, score: float, place: Place, size: tuple[float, float]) -> Iterator[Detection]:
    (x, y), (wide, tall) = place, size
    box = Box.clipped((x - wide / 2) / WIDTH, (y - tall) / HEIGHT, (x + wide / 2) / WIDTH, y / HEIGHT)
    if box.width * WIDTH > 0.4 * wide and box.height * HEIGHT > 0.4 * tall:
        yield Detection(label, score, box)


def _block(picture: Picture, corners: tuple[float, float, float, float], colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = (round(value) for value in corners)
    cv2.rectangle(picture, (x1, y1), (x2, y2), colour, -1)


@cache
def hall(seed: int = 1) -> Picture:
    """A tiled floor, a wall with edges and shades."""
    random = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), (150, 155, 150), np.uint8)
    picture[:70] = (120, 110, 105)
    for y in range(70, HEIGHT, 22):
        cv2.line(picture, (0, y), (WIDTH, y), (110, 118, 112), 1)
    for x in range(-WIDTH, 2 * WIDTH, 36):
        cv2.line(picture, (x, HEIGHT), (x + 60, 70), (112, 116, 112), 1)
    for _ in range(30):
        x, y = int(random.integers(0, WIDTH)), int(random.integers(0, 66))
        colour = tuple(int(value) for value in random.integers(40, 200, 3))
        cv2.rectangle(picture, (x, y), (x + int(random.integers(6, 50)), y + int(random.integers(6, 30))), colour, -1)
    rough = cv2.GaussianBlur(random.normal(0, 14, picture.shape).astype(np.float32), (5, 5), 0)
    finished: Picture = np.clip(picture + rough, 0, 255).astype(np.uint8)
    return finished


@cache
def _grain(index: int, sigma: float) -> Picture:
    return np.random.default_rng(index).normal(0, sigma, (HEIGHT, WIDTH, 3)).round().astype(np.int16)


def told(scene: Scene | Sequence[Frame], **options: float | bool) -> list[tuple[str, float]]:
    """Events that began: (type, s), in order."""
    begun = [event for event in events(scene, **options) if event.phase == "new"]
    return [(event.event_type, round(event.started_at.minute * 60 + event.started_at.second, 1)) for event in begun]


def events(scene: Scene | Sequence[Frame], **options: float | bool) -> list[Event]:
    return watched(scene, **options)[1]


def watched(scene: Scene | Sequence[Frame], **options: float | bool) -> tuple[list[Result], list[Event]]:
    """Results of `bags` for each frame, and its events, with 3 and 8 s unless the options say otherwise."""
    chosen = BagsOptions(**{"unattended_s": 3.0, "abandoned_s": 8.0, **options})  # type: ignore[arg-type]
    frames = scene.frames() if isinstance(scene, Scene) else scene
    seen, begun = run(frames, TracksAnalyzer(TracksOptions()), BagsAnalyzer(chosen))
    return [results["bags"] for results in seen], begun
