"""Frames: a clip decoded, changed as a variant has it, and encoded again: JPEG at times of the clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from gateway.commands.sources import QUALITY, Picture, decoded, upright
from gateway.evaluation.material import Clip
from gateway.evaluation.variants import Variant

if TYPE_CHECKING:
    from gateway.frame import Pixels

STEPS = 65536  # times are whole multiples of 1/65536 s, so that adding a clock's offset loses nothing of them
STILL_FPS = 5.0


def moment(at: float) -> float:
    """`at` s as a number that can be shifted by whole seconds without rounding."""
    return round(at * STEPS) / STEPS


def measured(clip: Clip) -> Clip:
    """With its size and length. Raises `SourceFailed` for a file that is no video."""
    size, last, step = None, 0.0, 0.0
    for at, frame in decoded(clip.path):
        size = size or upright(frame).shape[1::-1]
        step, last = at - last, at
    return replace(clip, size=size, seconds=last + step)


def frames(path: Path, variant: Variant, before: Path | None = None) -> Iterator[Picture]:
    """The pictures of a clip, those of another clip before it at negative times. Raises `SourceFailed`."""
    if variant.before and before is not None:
        yield from _prefix(path, variant, before)
    for at, picture in _paced(_pixels(path), variant.fps):
        yield Picture(encode(variant.apply(picture, at), variant.quality), moment(at))


def _prefix(path: Path, variant: Variant, before: Path) -> Iterator[Picture]:
    """The last seconds before the clip: the beginning of another one, repeated if it is short, at this clip's size."""
    height, width = next(_pixels(path))[1].shape[:2]
    for at, picture in _paced(_looped(before, variant.before), variant.fps):
        scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        yield Picture(encode(variant.apply(scaled, at), variant.quality), moment(at - variant.before))  # type: ignore[arg-type]


def _looped(path: Path, seconds: float) -> Iterator[tuple[float, Pixels]]:
    offset = 0.0
    while True:
        last, step = 0.0, 0.1
        for at, picture in _pixels(path):
            if offset + at >= seconds - 1e-3:
                return
            step, last = (at - last) or step, at
            yield offset + at, picture
        offset += last + step


def _pixels(path: Path) -> Iterator[tuple[float, Pixels]]:
    for at, frame in decoded(path):
        yield at, upright(frame)


def _paced(pictures: Iterator[tuple[float, Pixels]], fps: float | None) -> Iterator[tuple[float, Pixels]]:
    """At this rate: each moment shows the newest picture there is, so some are left out, or repeated."""
    if fps is None:
        yield from pictures
        return
    number, shown, at = 0, None, 0.0
    for at, picture in pictures:
        while shown is not None and number / fps < at - 1e-3:
            yield number / fps, shown
            number += 1
        shown = picture
    if shown is not None and number / fps <= at + 1e-3:
        yield number / fps, shown


def still(path: Path, variant: Variant, seconds: float) -> Iterator[Picture]:
    """A picture, as from a camera before which nothing moves: once, and again until `seconds` have passed.

    A JPEG file of which the variant changes nothing goes as it is.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture")
    changed = variant.apply(picture, 0.0)  # type: ignore[arg-type]
    as_it_is = changed is picture and variant.quality == QUALITY and path.suffix.lower() in (".jpg", ".jpeg")
    jpeg = path.read_bytes() if as_it_is else encode(changed, variant.quality)
    for number in range(round(seconds * STILL_FPS) + 1):
        yield Picture(jpeg, moment(number / STILL_FPS))


def encode(picture: Pixels, quality: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
