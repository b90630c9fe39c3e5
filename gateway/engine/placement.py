"""Placement: at which worker and in which slot each analyzer of a session gets its frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.engine.dispatcher import Dispatcher
from gateway.engine.lineup import Places
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
        _settle(stage, homes[stage.name], places, session, needs=set(runners[stage.name].manifest.needs))
    return places


def _settle(stage: Stage, home: Dispatcher, places: Places, session: Session, *, needs: set[str]) -> None:
    """Put an analyzer in a slot at its worker. One that needs nothing from elsewhere waits for nobody elsewhere."""
    for dispatcher, slot in places:
        if dispatcher is home and (needs <= slot.known if needs else slot.source is None):
            slot.stages.append(stage)
            return
    slot = Slot(session, [stage])
    if needs:
        try:
            slot.follow(in_line([other for _, other in places if needs & {there.name for there in other.stages}]))
        except ValueError:
            raise UnknownOption(f"{stage.name} needs {', '.join(needs)}, which cannot see the same frames") from None
    places.append((home, slot))
