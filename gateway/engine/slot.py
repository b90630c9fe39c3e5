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

    `feeds` are slots at other workers that get this one's frames afterwards, together with its results.
    """

    def __init__(self, session: Session, stages: list[Stage]) -> None:
        self.session = session
        self.stages = stages
        self.feeds: list[Slot] = []
        self.frames: Mailbox[Frame] = Mailbox(1)
        self.replaced = 0

    @property
    def needs_from_elsewhere(self) -> frozenset[str]:
        """Analyzers of other workers whose results this slot's frames must carry."""
        here = {stage.name for stage in self.stages}
        return frozenset(need for stage in self.stages for need in stage.runner.manifest.needs) - here

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

    def pass_fed(self, frame: Frame) -> None:
        for fed in self.feeds:
            fed.pass_all(frame, "upstream")

    def pass_by(self, frame: Frame, stage: Stage, reason: str) -> None:
        """An analyzer does not see a frame: counted under the reason, told to who waits for that very frame."""
        stage.dropped[reason] += 1
        self.session.answers.settle(frame.seq, stage.name, {"state": stage.runner.state, "dropped": reason})
