"""Weights: the manifest of known model files, and where they lie on this machine.

The manifest, manifest.toml beside this file, holds only addresses and checksums that exist.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

MODELS = "models"  # under the data folder: where `models pull` writes


@dataclass(frozen=True, slots=True)
class Weights:
    """One known file. Without `url` it has no public source and `how` says how to come by it."""

    name: str
    file: str
    analyzer: str
    licence: str
    about: str
    bytes: int | None = None
    sha256: str | None = None
    url: str | None = None
    how: str = ""
    checked: str = ""


def read_manifest() -> dict[str, Weights]:
    """Every known file by name, in the manifest's order."""
    text = files("gateway").joinpath("manifest.toml").read_text(encoding="utf-8")
    return {name: Weights(name, **fields) for name, fields in tomllib.loads(text).items()}


def folders(home: Path, models_dir: str) -> list[Path]:
    """Where weights are searched: the folders of the setting `models_dir`, then the data folder's own."""
    named = [Path(part).expanduser() for part in models_dir.split(os.pathsep) if part]
    return [*named, home / MODELS]


def find(file: str, places: list[Path]) -> list[Path]:
    """Every file of that name in those trees, in their order. Links are followed to files, not to folders."""
    return [path for place in places for path in _walk(place) if path.name == file]


def _walk(place: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(place):
        below.sort()
        yield from (Path(folder, name) for name in sorted(names))


def examine(path: Path) -> dict[str, Any]:
    """A model file as it is told of: its size, its hash, and what is known of a file of that name.

    `state`: `right`, `wrong` (not the published file), `no reference` (nothing is published), `unreadable`.
    """
    known = next((weights for weights in read_manifest().values() if weights.file == path.name), None)
    about: dict[str, Any] = {
        "file": path.name,
        "path": str(path),
        "name": known.name if known else None,
        "licence": known.licence if known else None,
        "expected": known.sha256 if known else None,
        "bytes": None,
        "sha256": None,
    }
    try:
        about |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    except OSError:
        return {**about, "state": "unreadable"}
    if about["expected"] is None:
        return {**about, "state": "no reference"}
    return {**about, "state": "right" if about["sha256"] == about["expected"] else "wrong"}


def sha256_of(path: Path) -> str:
    """Raises `OSError`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
