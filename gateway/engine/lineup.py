"""Lineup: the analyzers of one session, in slots at their workers, and the way of its frames through them.

It can be changed while frames are under way: every frame settles exactly once for every analyzer that the session had
when the frame came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.engine.dispatcher import Dispatcher
from gateway.engine.runner import Runner
from gateway.engine.slot import Movement, Slot, Stage
from gateway.frame import Frame
from gateway.results import result_from_json

if TYPE_CHECKING:
    from gateway.engine.session import Session

Places = list[tuple[Dispatcher, Slot]]


class Lineup:
    """`stages` in the order in which needs come first; `dropped` counts the session's frames by reason."""

    def __init__(self, session: Session) -> None:
        self.stages: list[Stage] = []
        self.places: Places = []
        self.dropped: Counter[str] = Counter()
        self.paused = False
        self._session = session
        self._movement = Movement()
        self._ever: dict[str, Stage] = {}
        self._lost = 0

    def stage(self, runner: Runner) -> Stage:
        """The stage of an analyzer here, the one it had before if it had one. It is told its terms later."""
        if stage := self._ever.get(runner.name):
            return stage
        return Stage(runner, movement=self._movement)

    def assign(self, stages: Iterable[Stage], places: Places) -> set[str]:
        """Let these analyzers see frames from now on, in these slots; the names of those that no longer do.

        A chain of slots that stays the same keeps its frames. A frame that waits elsewhere goes by as "changed".
        """
        before, old, self.stages = self.stages, self.places, list(stages)
        self.places = _untouched(old, places)
        staying = {id(slot) for _, slot in self.places}
        gone = [(dispatcher, slot) for dispatcher, slot in old if id(slot) not in staying]
        self._lost += _least_replaced(old) - _least_replaced(self.places)
        homes = {stage.name: dispatcher for dispatcher, slot in self.places for stage in slot.stages}
        for dispatcher, slot in gone:
            dispatcher.withdraw(slot)
            slot.retire()
            for stage in slot.stages:
                if homes.get(stage.name) is not dispatcher:
                    dispatcher.worker.forget(self._session.id, stage.name)
        self._ever.update((stage.name, stage) for stage in self.stages)
        return {stage.name for stage in before} - homes.keys()

    def pause(self, paused: bool) -> None:
        """While paused nobody sees a frame; those that wait go by now."""
        self.paused = paused
        if paused:
            for _, slot in self.places:
                slot.clear("paused")

    @property
    def looks(self) -> bool:
        """Whether frames go to anybody at all."""
        return bool(self.places) and not self.paused

    @property
    def lost(self) -> int:
        """Frames replaced before any analyzer saw them."""
        return self._lost + _least_replaced(self.places)

    def offer(self, frame: Frame, now: float) -> None:
        """A frame from the camera: for all who wait for nobody else's results."""
        waiting = False
        for dispatcher, slot in self.places:
            if slot.source is not None:
                continue
            if self.paused:
                slot.pass_all(frame, "paused", onwards="paused")
            elif not slot.refuse(frame, now):
                dispatcher.offer(slot, frame)
                waiting = True
        if self.looks and not waiting:
            self._session.not_analyzed(frame)

    def onwards(self, frame: Frame, results: Mapping[str, Any], slot: Slot, now: float) -> None:
        """A worker is through with a frame: pass it on to analyzers elsewhere that need its results."""
        if reason := self._end_of_the_way(slot):
            slot.pass_fed(frame, reason)
        elif slot.feeds:
            seen = {**frame.results, **{name: result_from_json(item) for name, item in results.items()}}
            for dispatcher, fed in self.places:
                if fed in slot.feeds and not fed.refuse(richer := replace(frame, results=seen), now):
                    dispatcher.offer(fed, richer)

    def _end_of_the_way(self, slot: Slot) -> str | None:
        if self._session.reason is not None:
            return "ended"
        if slot.retired:
            return "changed"
        return "paused" if self.paused else None

    def leave(self) -> None:
        """The session is over."""
        for dispatcher, slot in self.places:
            dispatcher.leave(slot)


def _least_replaced(places: Places) -> int:
    return min((slot.replaced for _, slot in places if slot.source is None), default=0)


def _untouched(old: Places, new: Places) -> Places:
    """`new`, but with the trees of `old` that are the same: their frames need not be lost."""
    before = {_shape(slot, _homes(old)): slot for _, slot in old if slot.source is None}
    kept: set[Slot] = set()
    places: Places = []
    homes = _homes(new)
    for dispatcher, slot in new:
        if slot.line[-1] not in kept:
            if slot.source is None and _shape(slot, homes) in before:
                kept.add(slot)
            else:
                places.append((dispatcher, slot))
    stays = {before[_shape(slot, homes)] for slot in kept}
    return [(dispatcher, slot) for dispatcher, slot in old if slot.line[-1] in stays] + places


def _homes(places: Places) -> dict[Slot, Dispatcher]:
    return {slot: dispatcher for dispatcher, slot in places}


def _shape(slot: Slot, homes: Mapping[Slot, Dispatcher]) -> Any:
    """What makes two trees of slots the same: the analyzers in them, their order and their workers."""
    names = tuple(stage.name for stage in slot.stages)
    return homes[slot], names, frozenset(_shape(fed, homes) for fed in slot.feeds)
