"""Placement: at which worker and in which slot each analyzer of a session gets its frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.engine.dispatcher import Dispatcher
from gateway.engine.lineup import Places
from gateway.engine.plugins import Manifest
from gateway.engine.runner import Runner
from gateway.engine.slot import Slot, Stage, in_line
from gateway.errors import UnknownOption

if TYPE_CHECKING:
    from gateway.engine.session import Session


def place(
    session: Session, stages: Iterable[Stage], homes: Mapping[str, Dispatcher], runners: Mapping[str, Runner]
) -> Places:
    """New slots for these analyzers, needs first, by worker and by whose results they wait for.

    Raises `UnknownOption`.
    """
    places: Places = []
    for stage in stages:
        _settle(stage, homes[stage.name], places, session, about=runners[stage.name].manifest)
    return places


def _settle(stage: Stage, home: Dispatcher, places: Places, session: Session, *, about: Manifest) -> None:
    """Put an analyzer in a slot at its worker. One that needs nothing from elsewhere waits for nobody elsewhere."""
    needs = set(about.needs)
    for dispatcher, slot in places:
        if dispatcher is home and (needs <= slot.known if needs else slot.source is None):
            slot.stages.append(stage)
            return
    slot = Slot(session, [stage])
    if not needs and (source := _richest(set(about.wants), places)):
        slot.follow(source)
    if needs:
        try:
            slot.follow(in_line([other for _, other in places if needs & {there.name for there in other.stages}]))
        except ValueError:
            raise UnknownOption(f"{stage.name} needs {', '.join(needs)}, which cannot see the same frames") from None
    places.append((home, slot))


def _richest(wants: set[str], places: Places) -> Slot | None:
    """The slot that knows most of what is wanted. One only: nobody is put behind another for a wish."""
    known = [(len(wants & slot.known), slot) for _, slot in places]
    most = max((count for count, _ in known), default=0)
    return next((slot for count, slot in known if most and count == most), None)
