"""Frames for analyzers, drawn or from files, and the loop that drives a chain of analyzers over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import cv2
import numpy as np

from gateway.analyzer import SessionInfo
from gateway.events import Event, EventMachine
from gateway.frame import Frame
from gateway.jpeg import read_header

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from gateway.analyzer import Analyzer
    from gateway.results import Result

    Picture = np.ndarray[Any, Any]  # (H, W, 3) or (H, W) uint8

_START = datetime(2026, 1, 1, tzinfo=UTC)


def frame_of(picture: Picture | bytes, *, at: float = 0.0, seq: int = 0, quality: int = 90, **results: Result) -> Frame:
    """A Frame of a BGR or grey picture, or of JPEG bytes."""
    if not isinstance(picture, bytes):
        picture = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    header = read_header(picture)
    return Frame(seq, at, header.width, header.height, picture, at=at, results=results)


def look(analyzer: Analyzer, frame: Frame) -> Result:
    """What an analyzer sees in a frame without a past."""
    return analyzer.analyze(frame, analyzer.open(SessionInfo("test", options=analyzer.options)))


def run(frames: Iterable[Frame], *analyzers: Analyzer) -> tuple[list[Mapping[str, Result]], list[Event]]:
    """Drive a chain of analyzers as the host does: results per frame by name, and the events of the last one."""
    memories = [analyzer.open(SessionInfo("test", options=analyzer.options)) for analyzer in analyzers]
    machine, told = EventMachine("test"), list[Event]()
    seen: list[Mapping[str, Result]] = []
    for frame in frames:
        results: dict[str, Result] = dict(frame.results)
        for analyzer, memory in zip(analyzers, memories, strict=True):
            results[analyzer.name] = analyzer.analyze(replace(frame, results=results), memory)
        last = analyzers[-1]
        told += machine.expire(frame.at)
        told += machine.observe(
            last.name,
            last.version,
            results[last.name].sightings,
            now=frame.at,
            utc=_START + timedelta(seconds=frame.at),
            seq=frame.seq,
        )
        seen.append(results)
    return seen, told + machine.finish()


def clip(path: Path, *, fps: float, until: float = 1e9) -> Iterator[Frame]:
    """Frames of a video file, at most `fps` of them a second, as JPEG of quality 85."""
    import av

    wanted = 0.0
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            at = float(picture.time or 0)
            if at > until:
                return
            if at + 1e-6 >= wanted:
                wanted = max(wanted + 1 / fps, at)
                yield frame_of(picture.to_ndarray(format="bgr24"), at=at, seq=round(at * 1000), quality=85)
