"""Material: clips and pictures with their truth, read from a folder or a suite file.

A folder holds any of `clips/truth.json`, `faces/truth.json`, `smoking/` and `pictures/objects.json`; or it is one of
those four itself. A suite file is TOML with one `[[clip]]` table a clip: its `file` and the keys of `truth.json`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.results import Box

VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".ts"}
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
SMOKING, NOT_SMOKING = "smoking_", "notsmoking_"
TRUTH = "truth.json"


class BadMaterial(Exception):
    """The material cannot be read; one line for the user."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip and what is known of it. `truth` has the keys of `clips/truth.json`; times in s of the clip.

    `size` is width and height in px, `seconds` how long it lasts; both once it has been looked at.
    """

    name: str
    path: Path
    truth: Mapping[str, Any]
    size: tuple[int, int] | None = None
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        return str(self.truth.get("kind", "")).lower()

    @property
    def options(self) -> Mapping[str, Mapping[str, Any]]:
        """Options that the truth itself asks for, by analyzer."""
        found: Mapping[str, Mapping[str, Any]] = self.truth.get("options", {})
        return found

    def box(self, key: str) -> Box | None:
        """A box `x, y, width, height` in px of the clip."""
        if key not in self.truth or self.size is None:
            return None
        left, top, wide, high = map(float, self.truth[key])
        width, height = self.size
        return Box.clipped(left / width, top / height, (left + wide) / width, (top + high) / height)


@dataclass(frozen=True, slots=True)
class Still:
    """A picture and its label: what it shows."""

    path: Path
    truth: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """All of it; `faces` is the folder of the face pictures with its truth. `notes` say what was passed over."""

    clips: tuple[Clip, ...] = ()
    smoking: tuple[Still, ...] = ()
    objects: tuple[Still, ...] = ()
    faces: Path | None = None
    faces_truth: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(place: Path) -> Material:
    """Everything labelled at a folder or in a suite file. Raises `BadMaterial`."""
    if place.is_file():
        return Material(clips=tuple(_suite_file(place)))
    if not place.is_dir():
        raise BadMaterial(f"{place}: no such file or folder")
    found = Material(
        clips=tuple(_clips(_part(place, "clips", TRUTH))),
        smoking=tuple(_smoking(place)),
        objects=tuple(_objects(_part(place, "pictures", "objects.json"))),
        **_faces(_part(place, "faces", TRUTH)),
        notes=tuple(_unknown(place)),
    )
    if not (found.clips or found.smoking or found.objects or found.faces):
        raise BadMaterial(f"{place}: nothing labelled in it; docs/accuracy.md has the formats")
    return found


def _part(place: Path, folder: str, truth: str) -> Path | None:
    """The truth file of one kind of material: in its folder, or here."""
    for candidate in (place / folder / truth, place / truth):
        if candidate.is_file():
            return candidate
    return None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadMaterial(f"{path}: {error}") from None


def _is_faces(truth: Any) -> bool:
    return isinstance(truth, dict) and "persons" in truth and isinstance(truth["persons"], dict)


def _clips(truth: Path | None) -> Iterator[Clip]:
    found = _json(truth) if truth else {}
    if truth is None or _is_faces(found):
        return
    if not isinstance(found, dict) or not all(isinstance(item, dict) for item in found.values()):
        raise BadMaterial(f"{truth}: expected an object with one object a clip")
    for name, item in sorted(found.items()):
        if (path := truth.parent / name).is_file():
            yield Clip(Path(name).stem, path, item)


def _suite_file(file: Path) -> Iterator[Clip]:
    try:
        tables = tomllib.loads(file.read_text()).get("clip", [])
    except (OSError, ValueError) as error:
        raise BadMaterial(f"{file}: {error}") from None
    if not isinstance(tables, list) or not tables:
        raise BadMaterial(f"{file}: no [[clip]] in it; docs/accuracy.md has the format")
    for number, item in enumerate(tables, 1):
        path = (file.parent / str(item.get("file", ""))).expanduser()
        if not path.is_file():
            raise BadMaterial(f"{file}, clip {number}: no file {item.get('file', '')!r}")
        yield Clip(path.stem, path, {key: value for key, value in item.items() if key != "file"})


def _smoking(place: Path) -> Iterator[Still]:
    folder = place / "smoking" if (place / "smoking").is_dir() else place
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES and path.name.startswith((SMOKING, NOT_SMOKING)):
            yield Still(path, {"smoking": path.name.startswith(SMOKING)})


def _objects(truth: Path | None) -> Iterator[Still]:
    for item in _json(truth) if truth else ():
        if (path := truth.parent / item["file"]).is_file():  # type: ignore[union-attr]
            yield Still(path, item)


def _faces(truth: Path | None) -> dict[str, Any]:
    found = _json(truth) if truth else None
    return {"faces": truth.parent, "faces_truth": found} if truth and _is_faces(found) else {}


def _unknown(place: Path) -> Iterator[str]:
    """Clips without truth, and truth without a clip."""
    truth = _part(place, "clips", TRUTH)
    if truth is None:
        return
    found = _json(truth)
    if _is_faces(found):
        return
    there = {path.name for path in truth.parent.iterdir() if path.suffix.lower() in VIDEOS}
    yield from (f"{name}: not in {TRUTH}, skipped" for name in sorted(there - found.keys()))
    yield from (f"{name}: in {TRUTH}, but there is no such file, skipped" for name in sorted(found.keys() - there))


def spans(value: Any) -> list[tuple[float, float]]:
    """Intervals in s from `[a, b]` or a list of such pairs; none from anything else."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return []
    pairs = value if isinstance(value[0], Sequence) else [value]
    return [(float(pair[0]), float(pair[1])) for pair in pairs if len(pair) == 2]
