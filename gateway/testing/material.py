"""The pictures of the conformance check, drawn once and kept in a folder; and what others would see in them.

`index.json` lists them with the persons who are in them; `needs.json`, if it is there, has real results of the needed
analyzers for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from gateway.commands.scene import GROUND, HEIGHT, SCRIPT, WIDTH, Scene
from gateway.frame import Frame
from gateway.jpeg import read_header
from gateway.results import Box, Detection, Result, result_from_json

if TYPE_CHECKING:
    from gateway.frame import Pixels

SCENES, STEP_S, BEGIN_S = 40, 0.2, 3.0  # of the drawn yard: a person comes, stays, goes; another one comes
LARGE = 8
SIZES = ("1x1", "3x5", "17x641", "641x17", "grey", "progressive", "7680x4320", "160x120", "320x240")
CONTENTS = ("black", "white", "noise", "board")
NEEDS = "needs.json"
RECEIVED_S = 5000.0  # the gateway's clock is not the stream's

SCENE_NAMES = tuple(f"scene-{number:02}" for number in range(SCENES))
LARGE_NAMES = tuple(f"large-{number:02}" for number in range(LARGE))
SIZE_NAMES = tuple(f"size-{size}" for size in SIZES)


def draw(folder: Path) -> None:
    """Draw all pictures into a folder."""
    index = {}
    for name, jpeg, persons in _pictures():
        (folder / f"{name}.jpg").write_bytes(jpeg)
        index[name] = [list(box) for box in persons]
    (folder / "index.json").write_text(json.dumps(index))


def _pictures() -> Iterator[tuple[str, bytes, list[Box]]]:
    scene = Scene()
    yard = scene.picture(BEGIN_S)
    for number, name in enumerate(SCENE_NAMES):
        at = BEGIN_S + number * STEP_S
        yield name, _jpeg(scene.picture(at)), _persons(at)
    for number, name in enumerate(LARGE_NAMES):
        at = BEGIN_S + number * STEP_S
        yield name, _jpeg(cv2.resize(scene.picture(at), (1280, 720))), _persons(at)  # type: ignore[arg-type]
    for size, name in zip(SIZES, SIZE_NAMES, strict=True):
        yield name, _sized(yard, size), _persons(BEGIN_S)
    for name in CONTENTS:
        yield name, _jpeg(_content(name)), []


def _sized(yard: Pixels, size: str) -> bytes:
    if size == "grey":
        return _jpeg(cv2.cvtColor(yard, cv2.COLOR_BGR2GRAY))  # type: ignore[arg-type]
    if size == "progressive":
        return _jpeg(yard, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    width, height = map(int, size.split("x"))
    return _jpeg(cv2.resize(yard, (width, height), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]


def _content(name: str) -> Pixels:
    if name == "noise":
        return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    if name == "board":
        rows, columns = np.indices((HEIGHT, WIDTH)) // 20
        return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    return np.full((HEIGHT, WIDTH, 3), 255 if name == "white" else 0, np.uint8)


def _jpeg(picture: Pixels, *how: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85, *how])[1].tobytes()


def _persons(at: float) -> list[Box]:
    """Where the walkers of the drawn yard are; those out of the picture are left out."""
    found = []
    for person in SCRIPT:
        x, half = person.x(at), person.height * 0.2
        box = Box.clipped(
            *((x - half) / WIDTH, (GROUND - person.height) / HEIGHT, (x + half) / WIDTH, (GROUND + 4) / HEIGHT)
        )
        if box.width > 0.02:
            found.append(box)
    return found


@dataclass(frozen=True, slots=True)
class Moment:
    """One picture of a stream: which, its number and when, in seconds since the stream began."""

    name: str
    seq: int
    at: float


def stream(names: Iterable[str], step: float = STEP_S) -> list[Moment]:
    """Pictures one after the other, none lost."""
    return [Moment(name, seq, round(seq * step, 6)) for seq, name in enumerate(names)]


class Material:
    """The pictures of a folder as frames, with the results of others for those who need them.

    `needs` are the labels of the needed analyzers by name: real results if there are any, else plausible ones.
    """

    def __init__(self, folder: Path, needs: Mapping[str, tuple[str, ...]]) -> None:
        self._folder = folder
        self._needs = needs
        self._jpegs: dict[str, bytes] = {}

    @cached_property
    def _persons(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder / "index.json").read_text())
        return found

    @cached_property
    def _seen(self) -> dict[str, Any]:
        file = self._folder / NEEDS
        return json.loads(file.read_text()) if file.exists() else {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._persons)

    def frame(self, moment: Moment) -> Frame:
        """A fresh frame, nothing of it decoded yet."""
        if moment.name not in self._jpegs:
            self._jpegs[moment.name] = (self._folder / f"{moment.name}.jpg").read_bytes()
        jpeg = self._jpegs[moment.name]
        header = read_header(jpeg)
        results = {need: self._result(need, moment.name) for need in self._needs}
        return Frame(
            moment.seq, RECEIVED_S + moment.at, header.width, header.height, jpeg, at=moment.at, results=results
        )

    def crowd(self, frame: Frame, count: int) -> Frame:
        """The frame with `count` persons in what the needed analyzers saw."""
        boxes = [Box((n % 10) / 10, (n // 10) / 10, (n % 10) / 10 + 0.08, (n // 10) / 10 + 0.1) for n in range(count)]
        results = {need: self._drawn(need, boxes) for need in self._needs}
        return Frame(frame.seq, frame.received_at, frame.width, frame.height, frame.jpeg, at=frame.at, results=results)

    def _result(self, need: str, name: str) -> Result:
        if found := self._seen.get(name, {}).get(need):
            return result_from_json(found)
        return self._drawn(need, [Box(*corners) for corners in self._persons[name]])

    def _drawn(self, need: str, boxes: list[Box]) -> Result:
        """Persons, in the needed analyzer's own word for them if it has one."""
        labels = self._needs[need]
        label = "person" if "person" in labels or not labels else labels[0]
        detections = tuple(Detection(label, 0.9 - 0.01 * (number % 50), box) for number, box in enumerate(boxes))
        return Result(detections, measures={label: len(detections)} if detections else {})
