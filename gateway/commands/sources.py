"""Where `push` takes its pictures from: a video file, a camera device, picture files. All of it as JPEG.

A source is a blocking iterator, read by one thread from its beginning to its end: PyAV wants one owner per container.
"""

from __future__ import annotations

import glob
import re
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from gateway.frame import Pixels

QUALITY = 85
PICTURES_FPS = 5.0  # picture files have no rate of their own
JPEGS = {".jpg", ".jpeg"}
PICTURES = JPEGS | {".png", ".webp", ".bmp", ".tif", ".tiff"}
DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


class SourceFailed(Exception):
    """The source cannot be read; one line for the user."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One JPEG and when it is due, in seconds since the source began."""

    jpeg: bytes
    at: float


class Source(Protocol):
    """A live source must be read at once and may lose pictures; the others keep all and are sent at their own pace."""

    name: str
    live: bool

    def pictures(self) -> Generator[Picture, None, None]:
        """Raises `SourceFailed`."""
        ...


def open_source(text: str, *, fps: float | None, loop: bool) -> Source:
    """What the user means by `text`. Raises `SourceFailed`."""
    path = Path(text).expanduser()
    if text.isdigit() or re.fullmatch(r"/dev/video\d+", text):
        return Device(text, fps)
    if "://" in text:
        raise SourceFailed(f"{text}: push sends files and devices; a camera's address is pulled by the gateway itself")
    if path.is_file() and path.suffix.lower() not in PICTURES:
        return Video(path, fps, loop=loop)
    if files := _picture_files(path, text):
        return Files(text, files, fps or PICTURES_FPS, loop=loop)
    if path.is_dir():
        raise SourceFailed(f"{text}: no pictures in this folder ({', '.join(sorted(PICTURES))})")
    raise SourceFailed(f"{text}: no such file, device or folder")


def _picture_files(path: Path, text: str) -> list[Path]:
    if path.is_file():
        return [path]
    found = list(path.iterdir()) if path.is_dir() else [Path(name) for name in glob.glob(str(path))]
    return sorted((file for file in found if file.suffix.lower() in PICTURES and file.is_file()), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """shot2 comes before shot10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name)]


class Thinner:
    """Lets at most `fps` pictures a second pass, kept on the average; all of them if None."""

    def __init__(self, fps: float | None = None) -> None:
        self.interval = 1 / fps if fps else 0.0
        self._due = 0.0

    def passes(self, at: float) -> bool:
        if at < self._due - 1e-6:
            return False
        self._due = max(self._due, at - self.interval) + self.interval
        return True


class Video:
    """A video file at its own rate, by its presentation timestamps; what cannot be decoded is left out."""

    live = False

    def __init__(self, path: Path, fps: float | None, *, loop: bool) -> None:
        self.name = path.stem
        self._path, self._fps, self._loop = path, fps, loop
        with _opened(str(path)):
            pass

    def pictures(self) -> Generator[Picture, None, None]:
        thinner, offset = Thinner(self._fps), 0.0
        while True:
            end = None
            for at, frame in decoded(self._path):
                if thinner.passes(offset + at):
                    yield Picture(encode(upright(frame)), offset + at)
                end = at
            if end is None:
                raise SourceFailed(f"{self._path}: not one picture can be decoded")
            if not self._loop:
                return
            offset += end + 0.04


def _opened(name: str, **how: Any) -> Any:
    """A container with a video stream. Raises `SourceFailed`."""
    try:
        container = av.open(name, **how)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceFailed(f"{name}: cannot be opened as video: {reason}") from None
    if not container.streams.video:
        container.close()
        raise SourceFailed(f"{name}: there is no video in it")
    return container


def decoded(path: Path) -> Iterator[tuple[float, Any]]:
    """A video file's frames with their time in seconds since the first. Raises `SourceFailed`."""
    with _opened(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        step = 1 / float(stream.average_rate or 25)
        first, at = None, -step
        for packet in container.demux(stream):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                continue
            for frame in decoded:
                first = frame.time if first is None else first
                # Raw streams carry no times; and time never goes back, whatever the file says.
                at = at + step if frame.time is None else max(at, float(frame.time - first))
                yield at, frame


class Device:
    """A camera of this machine: its newest picture whenever there is one."""

    live = True

    def __init__(self, text: str, fps: float | None) -> None:
        if sys.platform not in DEVICES:
            raise SourceFailed(f"{text}: camera devices are read on Linux and macOS only; push a file, or use /publish")
        self._format, pattern = DEVICES[sys.platform]
        self.name = pattern.format(text) if text.isdigit() else text
        self._fps = fps
        with self._open():
            pass

    def _open(self) -> Any:
        return _opened(self.name, format=self._format, timeout=(10.0, 10.0))

    def pictures(self) -> Generator[Picture, None, None]:
        thinner, began = Thinner(self._fps), time.monotonic()
        with self._open() as container:
            try:
                for frame in container.decode(video=0):
                    at = time.monotonic() - began
                    if thinner.passes(at):
                        yield Picture(encode(upright(frame)), at)
            except av.FFmpegError as error:
                raise SourceFailed(f"{self.name}: {error.strerror}") from None


class Files:
    """Picture files in the natural order of their names; JPEG goes as it is."""

    live = False

    def __init__(self, text: str, files: list[Path], fps: float, *, loop: bool) -> None:
        self.name = Path(text).stem or text
        self._files, self._fps, self._loop = files, fps, loop

    def pictures(self) -> Generator[Picture, None, None]:
        number = 0
        while True:
            before = number
            for file in self._files:
                if (jpeg := _read(file)) is None:
                    print(f"{file}: not a picture, left out", file=sys.stderr)
                else:
                    yield Picture(jpeg, number / self._fps)
                    number += 1
            if number == before:
                raise SourceFailed(f"{self.name}: not one picture can be read")
            if not self._loop:
                return


def _read(file: Path) -> bytes | None:
    """The picture as JPEG; None if it is none."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    if data[:2] == b"\xff\xd8":
        return data
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    return None if picture is None else encode(picture)  # type: ignore[arg-type]


def upright(frame: Any) -> Pixels:
    """A decoded frame as BGR, turned as the file says (phones store the turn beside the pictures)."""
    picture: Pixels = frame.to_ndarray(format="bgr24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def encode(picture: Pixels) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def shrink(jpeg: bytes, limit: int) -> bytes:
    """The picture small enough for `limit` bytes, halved as often as it takes. Raises `SourceFailed`."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    while picture is not None and len(jpeg) > limit and min(picture.shape[:2]) > 1:
        picture = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        jpeg = encode(picture)  # type: ignore[arg-type]
    if len(jpeg) > limit:
        raise SourceFailed(f"a picture of {len(jpeg)} bytes cannot be sent: the gateway takes {limit}")
    return jpeg
