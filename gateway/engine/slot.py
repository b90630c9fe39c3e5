"""Slot: one session's place at one worker: its newest frame there, and the analyzers that are to see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.engine.mailbox import Mailbox
from gateway.engine.runner import Runner
from gateway.frame import Frame

if TYPE_CHECKING:
    from gateway.engine.session import Session


class Stage:
    """One analyzer for one session: its options there, its pace, and what became of each frame.

    Every frame the session took is, for each analyzer, either analysed, or dropped under a reason, or still waiting.
    """

    def __init__(self, runner: Runner, options: Mapping[str, Any], fps: float | None) -> None:
        self.runner = runner
        self.options = dict(options)
        self.analyzed = 0
        self.dropped: Counter[str] = Counter()
        self._period = 1.0 / fps if fps else 0.0
        self._due_at = 0.0

    @property
    def name(self) -> str:
        return self.runner.name

    def due(self, now: float) -> bool:
        """Whether its pace lets it see a frame now."""
        return now >= self._due_at - 1e-3

    def taken(self, now: float) -> None:
        """It sees a frame now; keep to the pace on average, without bursts after a pause."""
        late = now - self._due_at > self._period
        self._due_at = (now if late else self._due_at) + self._period

    def describe(self) -> dict[str, Any]:
        runner = self.runner
        about: dict[str, Any] = {"name": self.name, "state": runner.state}
        if runner.reason:
            about["reason"] = runner.reason
        return {**about, "analyzed": self.analyzed, "dropped": dict(self.dropped)}


class Slot:
    """The latest-frame slot of a session at a worker. `stages` are in an order in which needs come first.

    `feeds` are slots that get this one's frames afterwards, together with its results; `source` is the way back.
    """

    def __init__(self, session: Session, stages: list[Stage]) -> None:
        self.session = session
        self.stages = stages
        self.feeds: list[Slot] = []
        self.source: Slot | None = None
        self.frames: Mailbox[Frame] = Mailbox(1)
        self.replaced = 0

    @property
    def line(self) -> list[Slot]:
        """This slot and those its frames come through, the nearest first."""
        return [self, *(self.source.line if self.source else [])]

    @property
    def known(self) -> set[str]:
        """Analyzers whose results for a frame are there when this slot is through with it."""
        return {stage.name for slot in self.line for stage in slot.stages}

    def follow(self, source: Slot) -> None:
        """Get frames from another slot from now on, no longer from the camera or from whom it followed before."""
        if self.source is not None:
            self.source.feeds.remove(self)
        self.source = source
        source.feeds.append(self)

    def leave(self) -> None:
        """The session is over: a frame that still waits goes by."""
        frame = self.frames.take()
        if frame is not None:
            self.pass_all(frame, "ended")

    def put(self, frame: Frame) -> None:
        """Offer a frame; an older one that nobody took is replaced and counted for each analyzer."""
        older = self.frames.put(frame)
        if older is not None:
            self.replaced += 1
            self.pass_all(older, "replaced")

    def pass_all(self, frame: Frame, reason: str) -> None:
        """A frame goes by all of this slot's analyzers, and by those fed from it."""
        for stage in self.stages:
            self.pass_by(frame, stage, reason)
        self.pass_fed(frame)

    def pass_fed(self, frame: Frame, reason: str = "upstream") -> None:
        for fed in self.feeds:
            fed.pass_all(frame, reason)

    def pass_by(self, frame: Frame, stage: Stage, reason: str) -> None:
        """An analyzer does not see a frame: counted under the reason, told to who waits for that very frame."""
        stage.dropped[reason] += 1
        self.session.answers.settle(frame.seq, stage.name, {"state": stage.runner.state, "dropped": reason})


def in_line(slots: list[Slot]) -> Slot:
    """Slots one behind the other, so that the last knows what all know; that last. Raises `ValueError` if it cannot be.

    Analyzers that worked side by side, each on its own newest frame, then work on the same frames.
    """
    last, *others = slots
    for slot in others:
        if last in slot.line:
            last = slot
        elif slot not in last.line:
            before, after = (last, slot) if slot.source is None or slot.source in last.line else (slot, last)
            if after.source is not None and after.source not in before.line:
                raise ValueError("both already follow somebody else")
            after.follow(before)
            last = after
    return last
