"""Job: frames of some sessions and the analyzers that are to see them, as one order to a worker.

An item is one session's frame; a call asks one analyzer about one item, or about several at once (a batch). Calls are
in an order in which needs come first, and each is settled as soon as the worker has answered it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.engine.host import Report
from gateway.engine.runner import Runner
from gateway.engine.slot import Slot, Stage
from gateway.frame import Frame, iso
from gateway.geometry import shape_to_json
from gateway.results import result_to_json


@dataclass(slots=True, eq=False)
class Item:
    """One session's frame, the stages that have not been answered yet, and what the others made of it."""

    slot: Slot
    frame: Frame
    waiting: list[Stage]
    results: dict[str, Any] = field(default_factory=dict)

    def settle(self, stage: Stage) -> None:
        """One stage fewer to wait for; after the last one the frame goes on its way."""
        self.waiting.remove(stage)
        if not self.waiting:
            self.slot.session.job_done(self.frame, self.results, self.slot)

    def lose(self) -> None:
        """The worker is gone, or the gateway goes: whoever has not seen the frame will not."""
        reason = "worker_died" if self.slot.session.reason is None else "ended"
        lost, self.waiting = self.waiting, []
        for stage in lost:
            self.slot.pass_by(self.frame, stage, reason)
        if lost:
            self.slot.pass_fed(self.frame)


@dataclass(frozen=True, slots=True)
class Call:
    """One analyzer asked about the frames of these items, each for its own stage."""

    runner: Runner
    entries: tuple[tuple[Item, Stage], ...]


class Job:
    """Items and calls; `order()` is what the worker is told."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.calls = list(_calls(items))

    @property
    def slots(self) -> list[Slot]:
        return [item.slot for item in self.items]

    @property
    def pictures(self) -> list[bytes]:
        return [item.frame.jpeg for item in self.items]

    def order(self) -> dict[str, Any]:
        index = {id(item): number for number, item in enumerate(self.items)}
        calls = [
            {
                "analyzer": call.runner.name,
                "items": [{"item": index[id(item)], "options": stage.options} for item, stage in call.entries],
            }
            for call in self.calls
        ]
        return {"items": [_told(item) for item in self.items], "calls": calls}

    def settle(self, call: Call, report: Report, now: float) -> None:
        """A call was answered: its runner is told how it went, its results go out, its drops are counted."""
        outcomes: list[Report] = report["outcomes"]
        for outcome in outcomes:
            if "error" in outcome:
                call.runner.failed(outcome["error"], now, outcome.get("traceback"))
        if any("result" in outcome for outcome in outcomes):
            call.runner.succeeded(report["ms"], now)
        for (item, stage), outcome in zip(call.entries, outcomes, strict=True):
            if "result" in outcome:
                item.results[stage.name] = outcome["result"]
                stage.analyzed += 1
                item.slot.session.publish(item.frame, stage, {"ms": report["ms"], "result": outcome["result"]})
            else:
                item.slot.pass_by(item.frame, stage, outcome.get("skipped", "error"), outcome.get("reason"))
            item.settle(stage)

    def lose(self) -> None:
        for item in self.items:
            item.lose()


def _calls(items: list[Item]) -> Iterator[Call]:
    asked: dict[str, list[tuple[Item, Stage]]] = {}
    for item in items:
        for stage in item.waiting:
            asked.setdefault(stage.name, []).append((item, stage))
    for name in _needs_first({name: entries[0][1].runner for name, entries in asked.items()}):
        entries = asked[name]
        runner = entries[0][1].runner
        size = max(1, runner.batch_size)
        for begin in range(0, len(entries), size):
            yield Call(runner, tuple(entries[begin : begin + size]))


def _needs_first(runners: dict[str, Runner]) -> Iterable[str]:
    """Names in the order given, but each after those it needs."""
    ordered: dict[str, None] = {}

    def place(name: str) -> None:
        if name in runners and name not in ordered:
            for need in runners[name].manifest.needs:
                place(need)
            ordered.setdefault(name)

    for name in runners:
        place(name)
    return ordered


def _told(item: Item) -> dict[str, Any]:
    """One item as the worker is told of it."""
    session, frame = item.slot.session, item.frame
    return {
        "session": {
            "stream_id": session.id,
            "camera_id": session.camera_id,
            "name": session.name,
            "zones": [shape_to_json(shape) for shape in session.request.zones],
        },
        "frame": {
            "seq": frame.seq,
            "received_at": frame.received_at,
            "at": frame.at,
            "width": frame.width,
            "height": frame.height,
            "captured_at": iso(frame.captured_at),
        },
        "results": {need: result_to_json(result) for need, result in frame.results.items()},
        "length": len(frame.jpeg),
    }
