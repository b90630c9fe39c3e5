"""Tracks: what `objects` sees, followed over time, so that every other analyzer means the same person by the same id.

Looks at no pixels. Bags are one kind whatever the detector calls them from one frame to the next, and so are vehicles
of four wheels and of two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway import Analyzer, Detection, Frame, Result, SessionInfo, Tracker, hookimpl

if TYPE_CHECKING:
    from gateway import Track

PERSON = "person"
GROUPS = (("backpack", "handbag", "suitcase"), ("car", "truck", "bus"), ("bicycle", "motorcycle"))
PRESENT_S = 1.0  # somebody hidden for no longer is still counted as there
SURE = 0.5  # mean score lately, from which somebody is counted though he stands still; detectors give most persons more
MOVED = 0.25  # own heights over the path kept, some seconds; half a step, which no trembling of a box makes
PART = 0.7  # of a box inside a surer person's; somebody beside him has half of his box to himself
CHIN = 0.15  # of a person's height below his crown; heads are a 7.5th of it


@dataclass(frozen=True)
class TracksOptions:
    lost_s: float = 4.0  # s; who is hidden or missed for no longer keeps his id
    confirm_s: float = 0.2  # s over which something must be seen before it gets an id; read when a stream begins

    def __post_init__(self) -> None:
        if not 0 < self.lost_s <= 600:
            raise ValueError(f"lost_s must be above 0 and up to 600 s, got {self.lost_s}")
        if not 0 <= self.confirm_s <= 10:
            raise ValueError(f"confirm_s must be 0-10 s, got {self.confirm_s}")


class TracksAnalyzer(Analyzer):
    """Detections of `objects` with track ids, those that continue a track though too weak to be told included.

    `Result.faint` holds, for analyzers that need this one, confirmed tracks that nothing is seen of now, at the place
    where they should be (`attributes.unseen_s` above 0), and weak detections that belong to no track (no `track_id`).
    """

    name = "tracks"
    title = "Tracks"
    needs = ("objects",)
    pixels = False
    Options = TracksOptions

    def open(self, session: SessionInfo) -> Tracker:
        options: TracksOptions = session.options
        # What `objects` tells is strong, whatever confidence it was asked for.
        return Tracker(groups=GROUPS, strong=0.0, lost_s=options.lost_s, confirm_s=options.confirm_s)

    def configure(self, session: SessionInfo, memory: Tracker) -> Tracker:
        """Ids go on."""
        memory.lost_s = session.options.lost_s
        return memory

    def analyze(self, frame: Frame, memory: Tracker) -> Result:
        memory.aspect = frame.width / frame.height
        seen = frame.results["objects"]
        parts = _parts(seen.detections)
        whole = [one for one in seen.detections if one not in parts]
        tracks = memory.update(whole, frame.at, faint=(*parts, *seen.faint))
        by_detection = {id(track.detection): track for track in tracks if track.detection is not None}
        strong = [_named(one, by_detection.get(id(one)), memory.aspect) for one in seen.detections]
        weak = [_named(one, by_detection.get(id(one)), memory.aspect) for one in seen.faint]
        hidden = [_predicted(track) for track in tracks if track.detection is None and track.box.area > 0]
        return Result(
            detections=(*strong, *(one for one in weak if one.track_id is not None)),
            measures=_measures(tracks, memory.aspect),
            faint=(*hidden, *(one for one in weak if one.track_id is None)),
        )


def _parts(found: Sequence[Detection]) -> list[Detection]:
    """Boxes in a surer person's box, from his chin down: mostly his arm or his legs. They continue tracks, and begin
    none: a child who came into view beside an adult is followed before him, too."""
    persons = [one for one in found if one.label == PERSON]
    return [one for one in persons if any(_is_part(one, other) for other in persons)]


def _is_part(one: Detection, other: Detection) -> bool:
    below_chin = one.box.y1 - other.box.y1 >= CHIN * other.box.height
    return one.score < other.score and below_chin and one.box.intersection(other.box) >= PART * one.box.area


def _named(detection: Detection, track: Track | None, aspect: float) -> Detection:
    """The detection as part of its track, if it has one."""
    if track is None:
        return detection
    attributes: dict[str, Any] = {"age_s": round(track.age_s, 2), "speed": round(_speed(track, aspect), 2)}
    return replace(detection, label=track.label, track_id=track.id, attributes={**detection.attributes, **attributes})


def _predicted(track: Track) -> Detection:
    attributes = {"age_s": round(track.age_s, 2), "unseen_s": round(track.unseen_s, 2)}
    return Detection(track.label, track.score, track.box, track.id, attributes)


def _speed(track: Track, aspect: float) -> float:
    """Own heights a second: a person walks at about 0.8 of them, whatever the distance."""
    x, y = track.velocity
    return math.hypot(x * aspect, y) / max(track.box.height, 0.01)


def _measures(tracks: Iterable[Track], aspect: float) -> dict[str, float]:
    """Persons, and all things followed, that are there now."""
    there = [track for track in tracks if track.unseen_s <= PRESENT_S]
    persons = [track for track in there if track.label == PERSON and not _is_furniture(track, aspect)]
    return {"persons": len(persons), "tracks": len(there)}


def _is_furniture(track: Track, aspect: float) -> bool:
    """Whether the detector doubts that this is a person, and it does not move either: a sign, a coat on its hook."""
    (_, x, y), (_, x0, y0) = track.path[-1], track.path[0]
    moved = math.hypot((x - x0) * aspect, y - y0) / max(track.box.height, 0.01)
    return track.score < SURE and moved < MOVED


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [TracksAnalyzer]
