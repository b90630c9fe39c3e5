"""Work: a job as the worker sees it. Frames are decoded at most once, at the size that everybody who looks can use.

A job's only frame is decoded by whoever first asks for pixels; those of a batch by a few threads at once (OpenCV lets
go of the GIL), and so is a frame that arrives while the worker is busy with another job.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.analyzer import Analyzer
from gateway.frame import Frame
from gateway.results import Result, result_from_json


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One session's frame; `results` are those the frame shows, and grow as its analyzers answer."""

    session: Mapping[str, Any]
    frame: Frame
    results: dict[str, Result]
    decoding: Future[None] | None

    def wait(self) -> None:
        """Until its picture is there, if somebody is decoding it. Raises `BadImage`."""
        if self.decoding is not None:
            self.decoding.result()


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Items and the calls about them, in order."""

    items: list[Item]
    calls: Sequence[Mapping[str, Any]]


class Decoder:
    """The threads that decode beside the analyzers; they begin with the first picture."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="decode")

    def unpack(
        self, job: Mapping[str, Any], pictures: Sequence[bytes], analyzers: Mapping[str, Analyzer], *, ahead: bool
    ) -> Work:
        """The job's frames. `ahead`: nobody waits for this job yet, so there is time to decode them."""
        wishes = _wishes(job, analyzers)
        items = []
        for index, (about, jpeg) in enumerate(zip(job["items"], pictures, strict=True)):
            results = {name: result_from_json(item) for name, item in about["results"].items()}
            frame = _frame(about["frame"], jpeg, results, wishes.get(index))
            seen = index in wishes and (ahead or len(pictures) > 1)
            items.append(Item(about["session"], frame, results, self._pool.submit(frame.prepare) if seen else None))
        return Work(items, job["calls"])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def split(payload: bytes, job: Mapping[str, Any]) -> list[bytes]:
    """The pictures that travelled together."""
    if len(job["items"]) == 1:
        return [payload]
    return list(_parts(payload, [item["length"] for item in job["items"]]))


def _parts(payload: bytes, lengths: Sequence[int]) -> Iterator[bytes]:
    begin = 0
    for length in lengths:
        yield payload[begin : begin + length]
        begin += length


def _wishes(job: Mapping[str, Any], analyzers: Mapping[str, Analyzer]) -> dict[int, int | None]:
    """The longer side in px that will be asked of each item's picture, None being all of it; absent: none at all."""
    wishes: dict[int, int | None] = {}
    for call in job["calls"]:
        analyzer = analyzers.get(call["analyzer"])
        if analyzer is None or not analyzer.pixels:
            continue
        for entry in call["items"]:
            known = wishes.get(entry["item"], 0)
            side = analyzer.side
            wishes[entry["item"]] = None if known is None or not side else max(known, side)
    return wishes


def _frame(about: Mapping[str, Any], jpeg: bytes, results: dict[str, Result], wish: int | None) -> Frame:
    captured = about["captured_at"]
    return Frame(
        seq=about["seq"],
        received_at=about["received_at"],
        width=about["width"],
        height=about["height"],
        jpeg=jpeg,
        captured_at=datetime.fromisoformat(captured) if captured else None,
        at=about["at"],
        results=results,
        _wish=max(about["width"], about["height"]) if wish is None else wish,
    )
