"""Slot: one session's place at one worker: its newest frame there, and the analyzers that are to see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.engine.mailbox import Mailbox
from gateway.engine.runner import Runner
from gateway.engine.terms import MOTION, Terms
from gateway.frame import Frame

if TYPE_CHECKING:
    from gateway.engine.session import Session


EARLY = 0.3  # of its period that an analyzer may see a frame before it is due: cameras read at its pace jitter by 0.2
HEARTBEAT_S = 10.0  # behind a closed motion gate one frame is seen that often: what stands still is there all the same


class Movement:
    """What the analyzer `motion` last said of a session, for those that look only while something moves."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._told_at = self._moved_at = float("-inf")

    def told(self, runner: Runner, moving: bool, now: float) -> None:
        self._runner, self._told_at = runner, now
        if moving:
            self._moved_at = now

    def still(self, now: float, hold_s: float) -> bool:
        """Whether nothing has moved for so long. Without a word of `motion` as young as that, nobody knows: False."""
        if self._runner is None or self._runner.state != "ready" or now - self._told_at > hold_s:
            return False
        return now - self._moved_at > hold_s


class Stage:
    """One analyzer for one session: its terms there, and what became of each frame.

    Every frame the session took while it had this analyzer is either analysed, or dropped under a reason, or still
    waiting. An analyzer that is removed and comes back has the same stage, so that its counters go on.
    """

    def __init__(self, runner: Runner, terms: Terms | None = None, movement: Movement | None = None) -> None:
        self.runner = runner
        self.analyzed = 0
        self.dropped: Counter[str] = Counter()
        self.complaint: str | None = None  # why its own code refuses this stream's options
        self._movement = movement or Movement()
        self._due_at = self._seen_at = self._offered_at = 0.0
        self.tune(terms or Terms())

    @property
    def name(self) -> str:
        return self.runner.name

    def tune(self, terms: Terms) -> None:
        """Work on these terms from the next frame on."""
        self.terms = terms
        self.options = dict(terms.options)
        self.complaint = None
        self._hold_s = terms.hold_s
        self._period = 1.0 / terms.fps if terms.fps else 0.0
        self._due_at = 0.0

    def due(self, now: float) -> bool:
        """Whether its pace lets it see a frame now. Where frames come at about its pace, one may come a little early:
        the next one would come too late by nearly as much as a period.
        """
        sparse = now - self._offered_at >= self._period / 2
        return now >= self._due_at - max(1e-3, EARLY * self._period * sparse)

    def offered(self, now: float) -> None:
        """It was decided whether it sees a frame, that came now."""
        self._offered_at = now

    def gate(self, now: float) -> str | None:
        """Why it is kept from a frame, if it is: memory is short, or its motion gate."""
        if self.runner.rests:
            return "overloaded"
        if self._hold_s is None or now - self._seen_at >= HEARTBEAT_S or not self._movement.still(now, self._hold_s):
            return None
        return "still"

    def taken(self, now: float) -> None:
        """It sees a frame now; keep to the pace on average, without bursts after a pause."""
        self._seen_at = now
        late = now - self._due_at > self._period
        self._due_at = (now if late else self._due_at) + self._period

    def result(self, report: Mapping[str, Any], now: float) -> Mapping[str, Any]:
        """What it found, as far as it is to be told; the word of `motion` goes to the gates."""
        self.complaint = None
        found: Mapping[str, Any] = report["result"]
        if self.name == MOTION:
            self._movement.told(self.runner, bool(found["detections"]), now)
        told = {part: [item for item in found[part] if self._tells(item)] for part in ("detections", "sightings")}
        return {**{part: value for part, value in found.items() if part != "faint"}, **told}

    def _tells(self, item: Mapping[str, Any]) -> bool:
        """Whether a detection or sighting is of a label and at a place that is to be told. What has no place may be."""
        labels, zones = self.terms.labels, self.terms.zones
        if labels is not None and item.get("label") not in labels:
            return False
        placed = item["box"] is not None or item["zones"]
        return zones is None or not placed or not zones.isdisjoint(item["zones"])

    def describe(self) -> dict[str, Any]:
        runner = self.runner
        about: dict[str, Any] = {"name": self.name, "state": runner.state}
        if reason := runner.reason or self.complaint:
            about["reason"] = reason
        return {**about, "analyzed": self.analyzed, "dropped": dict(self.dropped)}


class Slot:
    """The latest-frame slot of a session at a worker. `stages` are in an order in which needs come first.

    `feeds` are slots that get this one's frames afterwards, together with its results; `source` is the way back. A
    slot's stages and feeds stay what they are while frames are on their way: when a stream's analyzers change, new
    slots take the place of those that are `retired`.
    """

    def __init__(self, session: Session, stages: list[Stage]) -> None:
        self.session = session
        self.stages = stages
        self.feeds: list[Slot] = []
        self.source: Slot | None = None
        self.frames: Mailbox[Frame] = Mailbox(1)
        self.replaced = 0
        self.retired = False
        self._passed: dict[str, Counter[str]] = {}
        self._most: Counter[str] = Counter()

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

    def retire(self) -> None:
        """Other slots have taken its place. A frame that a worker is at will come back here, and go no further."""
        self.retired = True
        self.clear("changed")

    def clear(self, reason: str) -> None:
        """A frame that waits here goes by everybody for this reason."""
        frame = self.frames.take()
        if frame is not None:
            self.pass_all(frame, reason, onwards=reason)

    def put(self, frame: Frame) -> None:
        """Offer a frame; an older one that nobody took is replaced and counted for each analyzer."""
        older = self.frames.put(frame)
        if older is not None:
            self.replaced += 1
            self.pass_all(older, "replaced")

    def refuse(self, frame: Frame, now: float) -> bool:
        """Let a frame go by at once if no analyzer here can be asked now, whatever its worker is doing."""
        refusals = [stage.runner.refusal(now) for stage in self.stages]
        if None in refusals:
            return False
        older = self.frames.take()
        if older is not None:
            self.replaced += 1
            self.pass_all(older, "replaced")
        for stage, refusal in zip(self.stages, refusals, strict=True):
            self.pass_by(frame, stage, str(refusal))
        self.pass_fed(frame)
        return True

    def pass_all(self, frame: Frame, reason: str, *, onwards: str = "upstream") -> None:
        """A frame goes by all of this slot's analyzers, and by those fed from it."""
        for stage in self.stages:
            self.pass_by(frame, stage, reason)
        self.pass_fed(frame, onwards)

    def pass_fed(self, frame: Frame, reason: str = "upstream") -> None:
        for fed in self.feeds:
            fed.pass_all(frame, reason, onwards=reason)

    def pass_by(self, frame: Frame, stage: Stage, reason: str, complaint: str | None = None) -> None:
        """An analyzer does not see a frame: counted under the reason, told to who waits for that very frame.

        `complaint` is what its own code has against the frame or the stream's options.
        """
        stage.dropped[reason] += 1
        stage.complaint = complaint or stage.complaint
        self._count(stage, reason)
        told = {"reason": complaint} if complaint else {}
        self.session.answers.settle(frame.seq, stage.name, {"state": stage.runner.state, "dropped": reason, **told})

    def _count(self, stage: Stage, reason: str) -> None:
        """Count frames, not analyzers: for the session, a reason counts as often as for the analyzer it hit most."""
        passed = self._passed.setdefault(stage.name, Counter())
        passed[reason] += 1
        if passed[reason] > self._most[reason]:
            self._most[reason] = passed[reason]
            self.session.lineup.dropped[reason] += 1


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
