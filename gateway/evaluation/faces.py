"""Faces: who is named rightly, who wrongly, who not at all; strangers stay strangers; how many faces there are.

A person's first picture that does for enrolment is the gallery, the others are shown to the pipeline as clips of two
seconds. Everybody is a stranger once: with all others enrolled, none of his pictures may be named.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.engine.studio import FaceStudio
from gateway.errors import BadImage
from gateway.evaluation.frames import still
from gateway.evaluation.material import PICTURES, Clip, spans
from gateway.evaluation.roc import curve
from gateway.evaluation.run import Run
from gateway.evaluation.variants import Variant
from gateway.evaluation.verdict import Check, Verdict
from gateway.person_files import FileLibrary
from gateway.persons import FaceEmbedding, MemoryLibrary, Person, to_enrol
from gateway.settings import Settings

RANK_1, FALSE_ACCEPT, FALSE_REJECT = 0.9, 0.02, 0.2  # shares that pass: at least, at most, at most
COUNT_ERROR = 0.05  # of all faces in the group pictures: too many and too few, added up
SHOWN_S = 2.0
EDGE_S = 0.3  # how exactly the truth knows when a shot begins and ends
SETTLE_S, NAMED_SHARE = 1.0, 0.8  # somebody in full view is to be named after this time, in this share of the frames
HARD = ("profile", "small", "turned", "far", "back")  # words that say that nobody could be asked to know this face

Show = Callable[[Path, Variant], Awaitable[Run]]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Who is enrolled, by which faces, in the order of the pictures. `parts` says what studied them."""

    persons: Mapping[str, tuple[FaceEmbedding, ...]]
    pictures: Mapping[str, tuple[Path, ...]]
    groups: Mapping[Path, Mapping[str, Any]]
    rejected: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def firsts(self) -> dict[str, tuple[FaceEmbedding, ...]]:
        """One face a person."""
        return {name: faces[:1] for name, faces in self.persons.items() if faces}

    def probes(self, name: str) -> list[Path]:
        """The pictures of an enrolled person that the gallery's one face is not of."""
        faces = self.persons[name]
        return [path for path in self.pictures[name] if not faces or path.name != faces[0].source]


def judges(clip: Clip) -> bool:
    """Every clip: who is enrolled is named nowhere but where the truth has him."""
    return True


def options(clip: Clip) -> Mapping[str, Mapping[str, Any]]:
    return {"faces": clip.options.get("faces", {})}


async def study(settings: Settings, folder: Path, truth: Mapping[str, Any]) -> Gallery:
    """Every picture of the folder, studied as for enrolment. Raises `StudioFailed`."""
    pictures = {name: _pictures(folder / name) for name in truth["persons"]}
    groups = {folder / "groups" / name: about for name, about in truth.get("groups", {}).items()}
    rejected, persons = [], {}
    async with FaceStudio.open(settings, quiet=True) as studio:
        for name, paths in pictures.items():
            found = []
            for path in paths:
                face, reasons = to_enrol(await studio.study(path.read_bytes()))
                if face is None:
                    rejected.append(f"{name}/{path.name}: {', '.join(reasons)}")
                else:
                    found.append(FaceEmbedding(face.vector, studio.model, face.quality, path.name, face.crop))
            persons[_id(name)] = tuple(found)
        return Gallery(
            persons,
            {_id(name): paths for name, paths in pictures.items()},
            {path: about for path, about in groups.items() if path.is_file()},
            tuple(rejected),
            dict(studio.parts),
        )


def _pictures(folder: Path) -> tuple[Path, ...]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES] if folder.is_dir() else []
    return tuple(sorted(found, key=lambda path: (len(path.stem), path.stem)))


def _id(name: str) -> str:
    """A folder's name as a person's id."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:64]


def enrol(folder: Path, persons: Mapping[str, Sequence[FaceEmbedding]]) -> None:
    """Let the library in this folder hold these and nobody else."""
    library = FileLibrary(folder)
    for person in library.persons():
        library.remove(person.person_id)
    for name, faces in persons.items():
        if faces:
            library.add(name, faces, person_id=name)


# --- pictures --------------------------------------------------------------------------------------------------------


async def judge_pictures(settings: Settings, show: Show, folder: Path, gallery: Gallery, variant: Variant) -> Verdict:
    """The verdict on all pictures. `show` runs one through the pipeline, whose library is in `folder`."""
    enrol(folder, gallery.firsts)
    known = [
        (name, path, _named(await show(path, variant))) for name in gallery.firsts for path in gallery.probes(name)
    ]
    strangers = []
    for name, paths in gallery.pictures.items():
        enrol(folder, {other: faces for other, faces in gallery.firsts.items() if other != name})
        strangers += [(name, path, _named(await show(path, variant))) for path in paths]
    enrol(folder, gallery.persons)
    groups = [(path, about, await show(path, variant)) for path, about in gallery.groups.items()]
    ranks = await _ranks(settings, gallery, variant)
    right = sum(named == {name} for name, _, named in known)
    refused = sum(not named for _, _, named in known)
    mistaken = [f"{path.parent.name}/{path.name} as {', '.join(named)}" for _, path, named in strangers if named]
    mistaken += [f"{p.parent.name}/{p.name} as {', '.join(n)}" for name, p, n in known if n - {name}]
    counted = _counted(groups)
    figures = {
        **gallery.parts,
        "rank_1": f"{sum(ranks)} of {len(ranks)}",
        "false_reject": f"{refused} of {len(known)}",
        "false_accept": f"{len(mistaken)} of {len(known) + len(strangers)}",
        "mistaken": mistaken,
        "rejected_at_enrolment": list(gallery.rejected),
        "groups": counted,
        **curve([(name, face.vector) for name, faces in gallery.persons.items() for face in faces]),
    }
    return Verdict(
        suite="faces",
        item=f"{len(known) + len(strangers) + len(groups)} pictures",
        variant=variant.name,
        checks=tuple(_picture_checks(figures, (ranks, refused, mistaken), (len(known), len(strangers)))),
        hits=right,
        misses=len(known) - right,
        false=len(mistaken),
        figures=figures,
    )


def _picture_checks(
    figures: Mapping[str, Any], found: tuple[list[bool], int, list[str]], tried: tuple[int, int]
) -> Iterator[Check]:
    (ranks, refused, mistaken), (known, strangers) = found, tried
    if known:
        yield Check("rank-1", sum(ranks) >= RANK_1 * len(ranks), f"rank-1 {figures['rank_1']}")
        text = f"false reject {figures['false_reject']}"
        yield Check("false reject", refused <= FALSE_REJECT * known, text)
    if known or strangers:
        text = f"false accept {figures['false_accept']}" + (f": {', '.join(mistaken)}" if mistaken else "")
        yield Check("false accept", len(mistaken) <= FALSE_ACCEPT * (known + strangers), text)
    if figures["groups"]:
        wrong = {name: f"{seen} for {true}" for name, (seen, true) in figures["groups"].items() if seen != true}
        error = sum(abs(seen - true) for seen, true in figures["groups"].values())
        faces = sum(true for _, true in figures["groups"].values())
        who = figures.get("detector", "the detector")
        text = f"{who} counts {len(figures['groups'])} groups, wrong: {wrong or 'none'}"
        yield Check("groups", error <= COUNT_ERROR * faces, text)


def _named(run: Run) -> set[str]:
    """Whom the last frame names."""
    return {item["person"] for item in run.rows[-1].detections("faces") if item["person"]}


def _counted(groups: Sequence[tuple[Path, Mapping[str, Any], Run]]) -> dict[str, tuple[int, int]]:
    """Faces seen and true by picture."""
    return {
        path.name: (sum(item["label"] == "face" for item in run.rows[-1].detections("faces")), int(about["faces"]))
        for path, about, run in groups
    }


async def _ranks(settings: Settings, gallery: Gallery, variant: Variant) -> list[bool]:
    """For each probe whether its own person is the nearest of all, however near."""
    people = [Person(name, name, faces) for name, faces in gallery.firsts.items()]
    library, found = MemoryLibrary(people), []
    async with FaceStudio.open(settings, quiet=True) as studio:
        for name in gallery.firsts:
            for path in gallery.probes(name):
                try:
                    faces = await studio.study(next(still(path, variant, 0.0)).jpeg)
                except BadImage:
                    faces = []
                near = library.match(faces[0].vector, studio.model)[0].person_id if faces else None
                found.append(near == name)
    return found


# --- clips -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shot:
    """Who is to be seen from when to when; `clear` are those in full view."""

    begin: float
    end: float
    who: frozenset[str]
    clear: frozenset[str]


def shots(clip: Clip, known: Mapping[str, object]) -> list[Shot]:
    """From `"shots": [{"t": [a, b], "who": ["name (how)"]}]`; of the names those that are enrolled."""
    found = []
    for item in clip.truth.get("shots", ()):
        people = {_id(text.split("(")[0].strip()): text for text in item["who"]}
        people = {name: text for name, text in people.items() if name in known}
        clear = {name for name, text in people.items() if not any(word in text for word in HARD)}
        found += [Shot(*span, frozenset(people), frozenset(clear)) for span in spans(item["t"])]
    return found


def judge(clip: Clip, run: Run, variant: str, gallery: Gallery) -> Verdict:
    true = shots(clip, gallery.persons)
    named = [(at, {item["person"] for item in found if item["person"]}) for at, found in run.series("faces")]
    false = {
        (name, round(at, 1))
        for at, names in named
        for name in names
        if not any(name in shot.who and shot.begin - EDGE_S <= at <= shot.end + EDGE_S for shot in true)
    }
    wrong = sorted({name for name, _ in false})
    checks = [Check("nobody else", not wrong, f"wrongly named: {_when(false)}" if wrong else "nobody wrongly named")]
    hits = misses = 0
    for shot in true:
        for name in sorted(shot.clear):
            inside = [name in names for at, names in named if shot.begin + SETTLE_S <= at <= shot.end - EDGE_S]
            share = sum(inside) / len(inside) if inside else 1.0
            passed = share >= NAMED_SHARE
            hits, misses = hits + passed, misses + (not passed)
            checks.append(Check(f"{name} named", passed, f"{name} in {share:.0%} of {shot.begin:g}-{shot.end:g}"))
    counts = [len(found) for _, found in run.series("faces")]
    return Verdict(
        suite="faces",
        item=clip.name,
        variant=variant,
        checks=tuple(checks),
        hits=hits,
        misses=misses,
        false=len(wrong),
        seconds=run.seconds,
        figures={"mean_faces": round(sum(counts) / max(1, len(counts)), 2), "strangers": len(run.of("unknown_person"))},
    )


def _when(false: set[tuple[str, float]]) -> str:
    first = dict(sorted(false, key=lambda one: -one[1]))
    return ", ".join(f"{name} at {at}" for name, at in sorted(first.items()))
