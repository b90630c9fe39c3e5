"""A data set in the YOLO layout, checked before anybody spends hours on it.

data.yaml names the classes and the folders of pictures; beside each folder called `images` lies one called `labels`
with a text file a picture, one line a box: class, then centre and size as 0-1 of the picture, or a polygon.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MOST_FAULTS = 20  # are told; the rest is counted
EDGE = 1e-3  # boxes drawn to the very edge are rounded over it


class BadDataset(Exception):
    """It cannot be trained on; one fault a line, each with its place."""


@dataclass(slots=True)
class Part:
    """Training or validation pictures: how many, how many of them without any box, and the boxes of each class."""

    images: int = 0
    empty: int = 0
    boxes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A checked data set; `file` is its data.yaml."""

    file: Path
    names: tuple[str, ...]
    folders: Mapping[str, tuple[Path, ...]]
    parts: Mapping[str, Part]
    warnings: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """The same as a data.yaml that means the same wherever it lies (JSON is YAML)."""
        places = {part: [str(folder) for folder in folders] for part, folders in self.folders.items()}
        return json.dumps({**places, "names": dict(enumerate(self.names))}, ensure_ascii=False)

    def summary(self) -> dict[str, Any]:
        """For the card: sizes and classes, no paths."""
        return {
            "name": self.file.parent.name,
            "classes": list(self.names),
            **{
                name: {"images": part.images, "without_boxes": part.empty, "boxes": dict(part.boxes)}
                for name, part in self.parts.items()
            },
        }


@dataclass(slots=True)
class _Faults:
    told: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.told) < MOST_FAULTS:
            self.told.append(text)

    def judge(self) -> None:
        """Raises `BadDataset` if there are any."""
        if self.count:
            rest = [f"and {self.count - len(self.told)} more"] if self.count > len(self.told) else []
            raise BadDataset("\n".join([*self.told, *rest]))


def read_dataset(place: Path) -> Dataset:
    """Check the data set of a folder or data.yaml, every label and every picture. Raises `BadDataset`."""
    file = place / "data.yaml" if place.is_dir() else place
    document = _document(file)
    names, faults, parts = _names(document, file), _Faults(), dict[str, Part]()
    files: dict[str, list[Path]] = {}
    places = {part: tuple(_folders(document, part, file)) for part in ("train", "val")}
    for part, folders in places.items():
        files[part] = _pictures(folders)
        if not files[part]:
            raise BadDataset(f"{file}: {part}: there is no picture in {', '.join(map(str, folders))}")
        parts[part] = _checked(files[part], names, faults)
    faults.judge()
    if not parts["train"].boxes or not parts["val"].boxes:
        empty = "train" if not parts["train"].boxes else "val"
        raise BadDataset(f"{file}: none of the {parts[empty].images} pictures of {empty} has a box in its labels")
    return Dataset(file.resolve(), names, places, parts, tuple(_warnings(names, parts, files)))


def _document(file: Path) -> Mapping[str, Any]:
    import yaml

    if not file.is_file():
        raise BadDataset(f"there is no {file}; a data set in the YOLO layout is a folder with a data.yaml")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadDataset(f"{file}: {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping):
        raise BadDataset(f"{file}: expected keys train, val and names, got {type(document).__name__}")
    return document


def _names(document: Mapping[str, Any], file: Path) -> tuple[str, ...]:
    """Class names by number, from a list or a mapping that leaves no number out."""
    names = document.get("names")
    if isinstance(names, Mapping):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise BadDataset(f"{file}: names must be numbered 0, 1, 2 and so on, got {', '.join(map(str, names))}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise BadDataset(f"{file}: names must list the classes, such as names: [cigarette], got {names!r}")
    words = tuple(str(name).strip() for name in names)
    if "" in words or len(set(words)) < len(words):
        raise BadDataset(f"{file}: every class needs a name of its own, got {', '.join(map(repr, words))}")
    if document.get("nc", len(words)) != len(words):
        raise BadDataset(f"{file}: nc is {document['nc']}, but names has {len(words)} classes")
    return words


def _folders(document: Mapping[str, Any], part: str, file: Path) -> Iterator[Path]:
    """Where the pictures of a part lie. Paths are relative to `path`, and that to the file."""
    given = document.get(part)
    if not given:
        raise BadDataset(f"{file}: {part} must name a folder of pictures; both train and val are needed")
    root = file.parent / str(document.get("path") or "")
    for place in given if isinstance(given, list) else [given]:
        folder = _folder(root, file.parent, str(place))
        if folder is None:
            raise BadDataset(f"{file}: {part}: there is no folder {root / str(place)}")
        yield folder.resolve()


def _pictures(folders: Iterable[Path]) -> list[Path]:
    files = (file for folder in folders for file in sorted(folder.rglob("*")))
    return [file for file in files if file.suffix.lower() in PICTURES]


def _folder(root: Path, beside: Path, place: str) -> Path | None:
    """Exports of some tools write ../train/images and mean train/images."""
    candidates = [root / place, beside / place, beside / place.removeprefix("../")]
    return next((folder for folder in candidates if folder.is_dir()), None)


def labels_of(picture: Path) -> Path:
    """Where the labels of a picture lie: in `labels` instead of the last `images` on its way."""
    parts = list(picture.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _checked(pictures: list[Path], names: tuple[str, ...], faults: _Faults) -> Part:
    part = Part()
    for picture in pictures:
        part.images += 1
        if not _decodes(picture):
            faults.add(f"{picture}: is no picture that decodes")
        labels = labels_of(picture)
        boxes = list(_boxes(labels, names, faults)) if labels.is_file() else []
        part.empty += not boxes
        part.boxes.update(boxes)
    return part


def _decodes(picture: Path) -> bool:
    import cv2

    try:
        return cv2.imread(str(picture), cv2.IMREAD_REDUCED_COLOR_8) is not None
    except cv2.error:
        return False


def _boxes(labels: Path, names: tuple[str, ...], faults: _Faults) -> Iterator[str]:
    """The class name of each right line; what is wrong with the others goes to `faults`."""
    try:
        lines = labels.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        faults.add(f"{labels}: {error}")
        return
    for number, line in enumerate(lines, 1):
        if line.strip():
            if fault := _fault(line.split(), names):
                faults.add(f"{labels}:{number}: {fault}")
            else:
                yield names[int(float(line.split()[0]))]


def _fault(words: list[str], names: tuple[str, ...]) -> str | None:
    """What is wrong with the line of one box; None if nothing."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return f"expected numbers, got {' '.join(words)[:80]!r}"
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        return f"expected a class and 4 numbers, or a polygon of 3 or more points, got {len(values)} numbers"
    if not all(map(math.isfinite, values)):
        return f"expected finite numbers, got {' '.join(words)[:80]}"
    if values[0] != int(values[0]) or not 0 <= values[0] < len(names):
        return f"there is no class {words[0]}; names has 0 to {len(names) - 1}"
    if not all(-EDGE <= value <= 1 + EDGE for value in values[1:]):
        return f"a box is 0-1 of the picture, not px, got {' '.join(words[1:5])}"
    if len(values) == 5 and not (values[3] > 0 and values[4] > 0):
        return f"a box needs a width and a height above 0, got {words[3]} and {words[4]}"
    return None


def _warnings(names: tuple[str, ...], parts: Mapping[str, Part], files: Mapping[str, list[Path]]) -> Iterator[str]:
    """What makes a worse model, or prettier figures than are true."""
    for name in names:
        for part, found in parts.items():
            if not found.boxes[name]:
                yield f"no box of class {name} in {part}"
    if twins := len(set(map(_digest, files["train"])) & set(map(_digest, files["val"]))):
        yield f"{twins} pictures are in train and in val: figures will look better than they are"
    images = parts["train"].images
    if not parts["train"].empty:
        yield "every training picture has a box: without pictures of other things it will see this one everywhere"
    if images < 200:
        yield f"{images} training pictures are few; some hundreds are the least for a usable detector"


def _digest(picture: Path) -> str:
    return hashlib.sha256(picture.read_bytes()).hexdigest()
