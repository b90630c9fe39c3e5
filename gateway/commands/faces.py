"""`framegate faces`: who is enrolled, for the analyzer `faces`. Works on the library's folder, without a gateway.

One that runs notices every change with the next frame. Pictures are studied in a confined process, as its own are.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.commands.table import table
from gateway.engine.studio import FaceStudio
from gateway.errors import BadImage, GatewayError
from gateway.person_files import FileLibrary, crop_of
from gateway.persons import FaceEmbedding, Match, Person, StudiedFace, to_enrol

if TYPE_CHECKING:
    from gateway.settings import Settings

FOLDER = "faces"  # in FRAMEGATE_HOME
LARGEST = 64 * 2**20  # bytes of a picture
THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a picture that was to be enrolled: its quality (0-1), or why it does not do."""

    file: str
    quality: float | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    face: StudiedFace | None = None

    def line(self) -> str:
        if self.face is not None:
            return f"{self.file}: added, quality {self.quality:.2f}"
        reasons = "; ".join(f"{word} ({detail})" for word, detail in self.reasons.items())
        return f"{self.file}: rejected: {reasons}"


def library_of(settings: Settings) -> FileLibrary:
    """The library that the analyzer uses. Raises `LibraryBroken`."""
    chosen = settings.analyzers.get("faces", {}).get("library")
    return FileLibrary(Path(chosen).expanduser() if chosen else settings.home.expanduser() / FOLDER)


def add_face(settings: Settings, name: str, images: Sequence[Path], *, person_id: str | None, json: bool) -> int:
    """The exit code: 0 if a face was added, 1 if none does, 2 if it cannot be done."""
    return _run(_add(settings, name, images, person_id, json=json))


async def _add(settings: Settings, name: str, images: Sequence[Path], person_id: str | None, *, json: bool) -> int:
    library = library_of(settings)
    person_id = person_id or _known(library, name)
    async with FaceStudio.open(settings, quiet=True) as studio:
        verdicts = [await _judged(studio, image) for image in images]
        model = studio.model
    faces = [
        FaceEmbedding(one.face.vector, model, one.face.quality, Path(one.file).name, one.face.crop)
        for one in verdicts
        if one.face is not None
    ]
    person = library.add(name, faces, person_id=person_id) if faces else None
    if json:
        rejected = [{"file": one.file, "reasons": list(one.reasons)} for one in verdicts if one.face is None]
        answer = {"person_id": person and person.person_id, "added": len(faces), "rejected": rejected}
        print(jsonlib.dumps(answer, indent=2))
    else:
        _print_added(verdicts, person)
        _complain_of_others(library, model)
    return 0 if faces else 1


def _known(library: FileLibrary, name: str) -> str | None:
    """The id of the one person of that name. Raises `SystemExit` if there are several."""
    found = [person for person in library.persons() if person.name == name.strip()]
    if len(found) > 1:
        raise SystemExit(f"{len(found)} persons are called {name}: say which with --id, see framegate faces list")
    return found[0].person_id if found else None


async def _judged(studio: FaceStudio, image: Path) -> Verdict:
    try:
        faces = await studio.study(_picture(image))
    except BadImage as error:
        return Verdict(str(image), reasons={"no picture": str(error)})
    face, reasons = to_enrol(faces)
    return Verdict(str(image), face.quality if face else None, reasons, face)


def _picture(image: Path) -> bytes:
    """The bytes of a file. Raises `BadImage`."""
    try:
        if image.stat().st_size > LARGEST:
            raise BadImage(f"larger than {LARGEST >> 20} MiB")
        return image.read_bytes()
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None


def _print_added(verdicts: Sequence[Verdict], person: Person | None) -> None:
    for verdict in verdicts:
        print(verdict.line())
    added = sum(one.face is not None for one in verdicts)
    if person is None:
        print("nobody was enrolled: none of these pictures does")
    else:
        print(f"{person.person_id} ({person.name}): {added} added, {len(person.faces)} in all")


def list_faces(settings: Settings, *, json: bool) -> int:
    return _run(_list(settings, json=json))


async def _list(settings: Settings, *, json: bool) -> int:
    library = library_of(settings)
    if json:
        items = [
            {"person_id": one.person_id, "name": one.name, "embeddings": len(one.faces)} for one in library.persons()
        ]
        document = {"folder": str(library.folder), "version": library.version, "models": library.models()}
        print(jsonlib.dumps({**document, "items": items}, indent=2))
        return 0
    rows = [
        (
            one.person_id,
            one.name,
            str(len(one.faces)),
            ", ".join(sorted({face.model[:12] for face in one.faces})) or "-",
        )
        for one in library.persons()
    ]
    print(table(("PERSON", "NAME", "FACES", "MODEL"), rows) if rows else "nobody is enrolled")
    print(f"\nlibrary: {library.folder}")
    return 0


def remove_face(settings: Settings, who: str) -> int:
    return _run(_remove(settings, who))


async def _remove(settings: Settings, who: str) -> int:
    library = library_of(settings)
    person = library.remove(_id_of(library, who))
    print(f"{person.person_id} ({person.name}): removed with {len(person.faces)} faces")
    return 0


def merge_faces(settings: Settings, who: str, other: str) -> int:
    return _run(_merge(settings, who, other))


async def _merge(settings: Settings, who: str, other: str) -> int:
    library = library_of(settings)
    person = library.merge(_id_of(library, who), _id_of(library, other))
    print(f"{person.person_id} ({person.name}): {len(person.faces)} faces")
    return 0


def _id_of(library: FileLibrary, who: str) -> str:
    """By id, or by a name that one person has. Raises `SystemExit`."""
    if any(person.person_id == who for person in library.persons()):
        return who
    if (found := _known(library, who)) is None:
        raise SystemExit(f"there is no person {who}; see framegate faces list")
    return found


def identify(settings: Settings, image: Path, *, json: bool) -> int:
    return _run(_identify(settings, image, json=json))


async def _identify(settings: Settings, image: Path, *, json: bool) -> int:
    library = library_of(settings)
    threshold = float(settings.analyzers.get("faces", {}).get("threshold", THRESHOLD))
    async with FaceStudio.open(settings, quiet=True) as studio:
        faces = await studio.study(_picture(image))
        matches = [library.match(face.vector, studio.model)[0] for face in faces]
        confidences = await studio.confidences([match.similarity for match in matches])
        model = studio.model
    answers = [
        _answer(library, face, match, confidence, threshold)
        for face, match, confidence in zip(faces, matches, confidences, strict=True)
    ]
    if json:
        print(jsonlib.dumps({"faces": answers}, indent=2))
        return 0
    for answer in answers:
        box = ", ".join(f"{value:.3f}" for value in answer["box"])
        who = f"{answer['person_id']} ({answer['name']})" if answer["person_id"] else "unknown"
        print(f"{who}  score {answer['score']:.2f} (cosine {answer['similarity']:.2f})  box {box}")
    if not answers:
        print("no face was found")
    _complain_of_others(library, model)
    return 0


def _answer(
    library: FileLibrary, face: StudiedFace, match: Match, confidence: float, threshold: float
) -> dict[str, Any]:
    named = match.person_id if match.clear and confidence >= threshold else None
    return {
        "person_id": named,
        "name": library.get(named).name if named else None,
        "score": round(confidence if match.person_id else 0.0, 4),
        "similarity": round(match.similarity, 4),
        "box": [round(value, 5) for value in face.box],
        "quality": round(face.quality, 4),
        "reasons": dict(face.reasons),
    }


def renew(settings: Settings) -> int:
    """The exit code: 1 if some faces can only be enrolled again."""
    return _run(_renew(settings))


async def _renew(settings: Settings) -> int:
    library = library_of(settings)
    async with FaceStudio.open(settings, quiet=True) as studio:
        old = [face for person in library.persons() for face in person.faces if face.model != studio.model]
        crops = {face.face_id: crop_of(library.folder, face) for face in old}
        kept = [face for face in old if crops[face.face_id]]
        vectors = await studio.embed([crops[face.face_id] for face in kept]) if kept else []
        model = studio.model
    made = zip(kept, vectors, strict=True)
    if kept:
        library.renew({face.face_id: replace(face, vector=vector, model=model) for face, vector in made})
    print(f"{len(kept)} faces embedded anew with {model[:12]}")
    if lost := len(old) - len(kept):
        print(f"{lost} faces have no picture to embed anew: enrol these persons again", file=sys.stderr)
    return 1 if lost else 0


def _complain_of_others(library: FileLibrary, model: str) -> None:
    if others := sum(library.models().values()) - library.models().get(model, 0):
        print(f"{others} faces are of other models and are not compared: framegate faces renew", file=sys.stderr)


def _run(work: Any) -> int:
    """The exit code of a coroutine; 2 for what this machine or the library does not allow."""
    try:
        code: int = asyncio.run(work)
    except BrokenPipeError:  # whoever reads what we print has gone
        raise
    except (GatewayError, OSError) as error:
        print(f"faces: {error}", file=sys.stderr)
        return 2
    return code
