"""Faces: where they are, whose they are if that person is enrolled, and who is a stranger.

Faces are found in every frame and followed; whose one is, all good looks at it decide together. It is tied to the
person that `tracks` follows, so an identity outlasts a moment's turning away. Nothing of a face is written here, and
with nobody enrolled faces are only counted: none is even embedded. Results and events carry a person's id, no name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzers import _face_engine, _face_insightface
from analyzers._cuts import Scene
from analyzers._face_align import align, from_png, to_png
from analyzers._face_engine import ENGINES, Engine, OnnxEngine
from analyzers._face_quality import judge
from analyzers._face_ties import tie
from analyzers._face_votes import LEAST_QUALITY, Look, Rules, Standing, Votes
from analyzers._weights import own_folder
from gateway import (
    Analyzer,
    Box,
    Detection,
    FileLibrary,
    Frame,
    Result,
    SessionInfo,
    Sighting,
    StudiedFace,
    Tracker,
    hookimpl,
)

if TYPE_CHECKING:
    from analyzers._face_detect import FoundFace
    from analyzers._face_embed import Vectors

log = logging.getLogger(__name__)

PERSON = "person"
FORGET_S = 30.0  # votes on a track that has gone
EARLY_S = 0.01  # a look may come: times of frames are rounded
LOST_S = 1.5  # how long a face without a person around it may be hidden

Key = tuple[str, int]  # "person" and a number of `tracks`, or "face" and one of our own


@dataclass(frozen=True)
class FacesOptions:
    threshold: float = 0.5  # 0-1; how sure to be to name a person; 0.5 is the network's own threshold
    engine: str = "onnx"  # onnx: YuNet or SCRFD and an ONNX embedder; insightface: a pack of that package
    detector: str = ""  # engine onnx: path or file name of a face detector; empty searches for YuNet
    model: str = ""  # engine onnx: path or file name of an embedder; empty searches for the known free ones
    pack: str = ""  # engine insightface: folder of a model pack, by path or name
    library: str = ""  # folder of the face library; empty: faces in FRAMEGATE_HOME
    side: int = 640  # px the frame's longer side is scaled to for the detector; graphs of fixed size ignore it
    confidence: float = 0.0  # 0-1; faces the detector is less sure of do not count; 0: the detector's own threshold
    min_px: int = 24  # width of a face from which it is compared with the library
    enrol_px: int = 48  # width of a face from which it may be enrolled
    every_s: float = 0.2  # s; a face is compared with the library once in so long at most
    unknown: bool = True  # tell of strangers, once somebody is enrolled
    names: bool = False  # tell names beside ids, to everybody who sees results
    linger_s: float = 5.0  # s without a sight of somebody until the event ends

    def __post_init__(self) -> None:
        for name in ("threshold", "confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0-1, got {getattr(self, name)}")
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if not 128 <= self.side <= 4096 or self.side % 32:
            raise ValueError(f"side must be 128-4096 px and a multiple of 32, got {self.side}")
        for name in ("min_px", "enrol_px"):
            if not 8 <= getattr(self, name) <= 4096:
                raise ValueError(f"{name} must be 8-4096 px, got {getattr(self, name)}")
        for name in ("every_s", "linger_s"):
            if not 0 <= getattr(self, name) <= 3600:
                raise ValueError(f"{name} must be 0-3600 s, got {getattr(self, name)}")


@dataclass(slots=True)
class _Memory:
    options: FacesOptions
    tracker: Tracker
    scene: Scene = field(default_factory=Scene)
    votes: dict[Key, Votes] = field(default_factory=dict)
    seen_at: dict[Key, float] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)  # person by face, as last tied

    def key_of(self, face: int | None, person: int | None, now: float) -> Key | None:
        """Under what a face's votes are counted: its person's, if it has or had one. None: it is not followed yet."""
        if face is not None and person is not None:
            self.owners[face] = person
        person = person if person is not None else self.owners.get(face or 0)
        if person is None and face is None:
            return None
        key: Key = (PERSON, person) if person is not None else ("face", face or 0)
        earlier = self.votes.pop(("face", face or 0), None) if key[0] == PERSON else None
        if earlier is not None:
            self.votes.setdefault(key, Votes()).merge(earlier)
        self.seen_at[key] = now
        return key

    def begin_anew(self) -> None:
        """Another scene: what comes now was never seen before, wherever it is."""
        self.tracker = _tracker()
        self.votes, self.seen_at, self.owners = {}, {}, {}

    def forget(self, now: float) -> None:
        gone = [key for key, seen_at in self.seen_at.items() if now - seen_at > FORGET_S]
        for key in gone:
            self.votes.pop(key, None)
            del self.seen_at[key]
        if len(self.owners) > 1000:
            self.owners = {}


@dataclass(slots=True, eq=False)
class _Seen:
    """A face of this frame: found, followed, tied to a person or not, with its votes."""

    found: FoundFace
    number: int | None
    person: int | None
    key: Key | None
    votes: Votes
    standing: Standing = field(default_factory=Standing)
    quality: float | None = None

    @property
    def box(self) -> Box:
        return self.found.box


class FacesAnalyzer(Analyzer):
    """Faces, the ids of enrolled persons among them, and an event for each of these and each stranger."""

    name = "faces"
    title = "Faces"
    needs = ("tracks",)
    labels = ("face",)
    event_types = ("person_identified", "unknown_person")
    Options = FacesOptions
    load_options = ("engine", "detector", "model", "pack", "library", "side", "enrol_px")
    options: FacesOptions

    def __init__(self, options: FacesOptions) -> None:
        super().__init__(options)
        self._library = FileLibrary(Path(options.library).expanduser() if options.library else library_folder())
        self._engine = _open_engine(options)
        self.device = self._engine.runtime
        self.face_model, self.face_engine = self._engine.model, self._engine.parts
        self._told = (-1, "")  # version of the library and trouble that the log has heard of
        self._enrolled = False  # whether anybody was in that version

    @classmethod
    def missing(cls, options: FacesOptions) -> str | None:
        if options.engine == "insightface":
            return _face_insightface.lacks(options.pack)
        return _face_engine.lacks(options.detector, options.model)

    @classmethod
    def weights(cls, options: FacesOptions) -> Sequence[Path]:
        if options.engine == "insightface":
            folder = _face_insightface.find_pack(options.pack)
            return sorted(folder.glob("*.onnx")) if folder else ()
        return _face_engine.find_parts(options.detector, options.model)

    def open(self, session: SessionInfo) -> _Memory:
        return _Memory(session.options, _tracker())

    def configure(self, session: SessionInfo, memory: _Memory) -> _Memory:
        """Tracks and votes go on; the next look is counted by the new options."""
        memory.options = session.options
        return memory

    # --- frames ------------------------------------------------------------------------------------------------------

    def analyze(self, frame: Frame, memory: _Memory) -> Result:
        found = self._engine.detect(frame, memory.options.confidence)
        if memory.scene.changed(frame):
            memory.begin_anew()
        seen = _followed(found, frame, memory)
        if self._anybody():
            self._look(seen, frame, memory)
            self._stand(seen, frame.at, memory)
        memory.forget(frame.at)
        return self._result(seen, frame.at, memory.options)

    def _anybody(self) -> bool:
        """Whether anybody is enrolled for this engine; what else there is to say of the library, the log hears once."""
        state = (self._library.version, self._library.trouble)
        if state != self._told:
            self._told, models = state, self._library.models()
            self._enrolled = self.face_model in models
            if self._library.trouble:
                log.warning("face library: %s; what was read before stays in use", self._library.trouble)
            if others := sum(models.values()) - models.get(self.face_model, 0):
                log.warning("face library: %d faces are of other models; run `framegate faces renew`", others)
        return self._enrolled

    def _look(self, seen: Sequence[_Seen], frame: Frame, memory: _Memory) -> None:
        """Look at the faces that it is time to look at; embed those that are worth it, and count their votes."""
        options = memory.options
        due = [
            one
            for one in seen
            if frame.at - one.votes.asked_at >= options.every_s - EARLY_S
            and _width_px(one.found, frame) >= options.min_px
        ]
        crops = {id(one): align(frame.to_bgr(), one.found.points) for one in due}
        for one in due:
            one.votes.asked_at = frame.at
            one.quality = judge(crops[id(one)], one.found.points, _width_px(one.found, frame)).score
        good = [one for one in due if (one.quality or 0) >= LEAST_QUALITY]
        vectors = _face_engine.embed_well(self._engine, [crops[id(one)] for one in good])
        for one, vector in zip(good, vectors, strict=True):
            one.votes.add(Look(vector, one.quality or 0, one.box, frame.at), one.number)
            one.votes.count(self._library, self._rules(options))

    def _stand(self, seen: Sequence[_Seen], now: float, memory: _Memory) -> None:
        """How each face stands now. One person has one face in a picture: the likeliest."""
        taken: set[str] = set()
        for one in sorted(seen, key=lambda one: -one.votes.standing.confidence):
            if one.votes.library_version != self._library.version:
                one.votes.count(self._library, self._rules(memory.options))
            standing = one.votes.standing if one.votes.supported(one.number, now) else Standing()
            if standing.person_id is None or standing.person_id not in taken:
                one.standing = standing
                taken |= {standing.person_id} if standing.person_id else set()

    def _rules(self, options: FacesOptions) -> Rules:
        return Rules(options.threshold, self.face_model, self.confidence)

    def _result(self, seen: Sequence[_Seen], now: float, options: FacesOptions) -> Result:
        known = [one for one in seen if one.standing.state == "known"]
        strangers = [one for one in seen if one.standing.state == "unknown" and one.key and options.unknown]
        sightings = [_identified(one, options.linger_s) for one in known]
        sightings += [_unknown(one, options.linger_s) for one in strangers]
        return Result(
            tuple(self._detection(one, options) for one in seen),
            measures={"faces": len(seen), "ids": len(known)},
            sightings=tuple(sightings),
        )

    def _detection(self, one: _Seen, options: FacesOptions) -> Detection:
        standing = one.standing
        attributes: dict[str, Any] = {"identity": standing.state}
        if one.number is not None:
            attributes["face"] = one.number
        if standing.state != "undecided":
            attributes |= {"confidence": round(standing.confidence, 3), "similarity": round(standing.similarity, 3)}
        if one.quality is not None:
            attributes["quality"] = round(one.quality, 3)
        if options.names and standing.person_id:
            names = {person.person_id: person.name for person in self._library.persons()}
            attributes["name"] = names.get(standing.person_id, "")
        return Detection("face", one.found.score, one.box, one.person, attributes, person=standing.person_id)

    # --- enrolment: what a process asks that has pictures to be studied ----------------------------------------------

    def study(self, frame: Frame) -> list[StudiedFace]:
        """Every face of a picture, largest first, with what speaks against enrolling it."""
        found = self._engine.detect(frame, self.options.confidence)
        picture = frame.to_bgr()
        crops = [align(picture, face.points) for face in found]
        studied = []
        for face, crop, vector in zip(found, crops, _face_engine.embed_well(self._engine, crops), strict=True):
            quality = judge(crop, face.points, _width_px(face, frame))
            reasons = quality.reasons(self.options.enrol_px)
            studied.append(StudiedFace(face.box, face.score, quality.score, reasons, vector, to_png(crop)))
        return studied

    def embed_crops(self, crops: Sequence[bytes]) -> Vectors:
        """Vectors of aligned faces that were kept."""
        return _face_engine.embed_well(self._engine, [from_png(crop) for crop in crops])

    def confidence(self, similarity: float) -> float:
        """A cosine as 0-1, 0.5 at the network's own threshold."""
        return _face_engine.calibrated(self._engine, similarity)


def library_folder() -> Path:
    return own_folder().parent / "faces"


def _open_engine(options: FacesOptions) -> Engine:
    if options.engine == "insightface":
        folder = _face_insightface.find_pack(options.pack)
        if folder is None:
            raise ValueError(_face_insightface.lacks(options.pack))
        return _face_insightface.InsightFaceEngine(folder, side=options.side)
    return OnnxEngine(*_face_engine.find_parts(options.detector, options.model), side=options.side)


def _tracker() -> Tracker:
    return Tracker(strong=0.0, lost_s=LOST_S, confirm_s=0.0)


def _followed(found: Sequence[FoundFace], frame: Frame, memory: _Memory) -> list[_Seen]:
    """The faces with their own numbers, their persons, and their votes."""
    memory.tracker.aspect = frame.width / frame.height
    detections = [Detection("face", face.score, face.box) for face in found]
    tracks = memory.tracker.update(detections, frame.at)
    numbers = {id(track.detection): track.id for track in tracks if track.detection is not None}
    persons = tie([face.box for face in found], _persons(frame.results))
    seen = []
    for face, detection, person in zip(found, detections, persons, strict=True):
        number = numbers.get(id(detection))
        key = memory.key_of(number, person, frame.at)
        votes = memory.votes.setdefault(key, Votes()) if key else Votes()
        seen.append(_Seen(face, number, key[1] if key and key[0] == PERSON else None, key, votes))
    return seen


def _persons(results: Mapping[str, Result]) -> dict[int, Box]:
    followed = results["tracks"].detections
    return {one.track_id: one.box for one in followed if one.label == PERSON and one.track_id is not None}


def _width_px(face: FoundFace, frame: Frame) -> float:
    return face.box.width * frame.width


def _identified(one: _Seen, linger_s: float) -> Sighting:
    return Sighting(
        "person_identified",
        key=one.standing.person_id or "",
        score=one.standing.confidence,
        label="face",
        box=one.box,
        linger_s=linger_s,
        person_id=one.standing.person_id,
        data={"similarity": round(one.standing.similarity, 3), **_evidence(one)},
    )


def _unknown(one: _Seen, linger_s: float) -> Sighting:
    """How sure that it is nobody enrolled: the other side of how like the nearest of these is."""
    return Sighting(
        "unknown_person",
        key="-".join(map(str, one.key or ())),
        score=1 - one.standing.confidence,
        label="face",
        box=one.box,
        linger_s=linger_s,
        data={"similarity": round(one.standing.similarity, 3), **_evidence(one)},
    )


def _evidence(one: _Seen) -> dict[str, Any]:
    """How many looks there were, which track it is, and the best of the looks."""
    best = one.votes.best
    evidence: dict[str, Any] = {"looks": len(one.votes.looks)}
    if one.key:
        evidence["track"] = "-".join(map(str, one.key))
    if best:
        evidence |= {
            "best_box": [round(value, 5) for value in best.box],
            "best_quality": round(best.quality, 3),
            "best_at": round(best.at, 3),
        }
    return evidence


@hookimpl
def register_analyzers() -> list[type[Analyzer]]:
    return [FacesAnalyzer]
