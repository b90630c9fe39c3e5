"""`framegate models list|pull|verify`: weights that analyzers need, where they lie, fetched and checked."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from gateway.commands.table import mebibytes, table
from gateway.weights import MODELS, Weights, find, folders, read_manifest, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.download import Progress
    from gateway.settings import Settings


def list_models(settings: Settings, *, json: bool) -> None:
    places = folders(settings.home, settings.models_dir)
    found = {name: find(weights.file, places) for name, weights in read_manifest().items()}
    if json:
        items = [
            {**asdict(weights), "found": [str(path) for path in found[name]]}
            for name, weights in read_manifest().items()
        ]
        print(jsonlib.dumps({"folders": [str(place) for place in places], "models": items}, indent=2))
        return
    print(table(("NAME", "FOR", "SIZE", "FOUND", "LICENCE", "WHAT"), _rows(found)))
    print(f"\nsearched: {', '.join(map(str, places))}")
    if any(not paths for paths in found.values()):
        print("fetch one with: framegate models pull NAME")


def _rows(found: dict[str, list[Path]]) -> Iterator[tuple[str, ...]]:
    for name, weights in read_manifest().items():
        size = mebibytes(weights.bytes) if weights.bytes else "-"
        where = str(found[name][0]) if found[name] else ("no" if weights.url else "no (bring your own)")
        yield name, weights.analyzer, size, where, weights.licence, weights.about


def pull_models(settings: Settings, names: list[str], *, url: str | None, offline: bool) -> int:
    """The exit code: 0 when every file is there and right."""
    if url is not None and len(names) > 1:
        raise SystemExit("--url is the address of one file: name one")
    wanted = [_known(name) for name in names]
    places = folders(settings.home, settings.models_dir)
    mirror = settings.models_mirror.rstrip("/")
    sources = {w.name: url or (f"{mirror}/{w.file}" if mirror else None) for w in wanted}
    return max([_pull(w, settings.home / MODELS, places, sources[w.name], offline=offline) for w in wanted])


def _known(name: str) -> Weights:
    manifest = read_manifest()
    by_file = {weights.file: weights for weights in manifest.values()}
    if weights := manifest.get(name) or by_file.get(name):
        return weights
    near = get_close_matches(name, [*manifest, *by_file], 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(manifest)}"
    raise SystemExit(f"there is no model {name}; {hint}")


def _pull(weights: Weights, target: Path, places: list[Path], url: str | None, *, offline: bool) -> int:
    from gateway.download import DownloadFailed, fetch

    for path in find(weights.file, places):
        if weights.sha256 is None or sha256_of(path) == weights.sha256:
            print(f"{weights.name}: already at {path}")
            return 0
    if weights.url is None or weights.bytes is None or weights.sha256 is None:
        return _complain(f"{weights.name} has no public source: {weights.how}; then put {weights.file} into {target}")
    if offline:
        return _complain(f"{weights.name}: offline; put {weights.file} into {target} yourself, from {weights.url}")
    print(f"{weights.name}: {weights.file}, {mebibytes(weights.bytes)}, licence {weights.licence}")
    print(f"from {url or weights.url}")
    try:
        with _progress(weights) as progress:
            fetch(
                url or weights.url,
                target / weights.file,
                size=weights.bytes,
                sha256=weights.sha256,
                progress=progress,
            )
    except (DownloadFailed, OSError) as error:
        return _complain(str(error))
    print(f"{weights.name}: at {target / weights.file}, SHA-256 as it should be")
    return 0


@contextmanager
def _progress(weights: Weights) -> Iterator[Progress]:
    """A bar on a terminal; in a file or a pipe four plain lines, without control codes."""
    size = weights.bytes or 1
    if not sys.stdout.isatty():
        quarter = -1

        def tell(have: int) -> None:
            nonlocal quarter
            if have * 4 // size > quarter:
                quarter = have * 4 // size
                print(f"{weights.name}: {have} of {size} bytes", flush=True)

        yield tell
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(
        "{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    ) as bar:
        task = bar.add_task(weights.name, total=size)
        yield lambda have: bar.update(task, completed=have)


def verify_models(settings: Settings, *, json: bool) -> int:
    """Hash every known file on this machine; 1 if one is not what it should be."""
    verdicts = [
        {"name": weights.name, "path": str(path), "state": _state(weights, path)}
        for weights in read_manifest().values()
        for path in find(weights.file, folders(settings.home, settings.models_dir))
    ]
    if json:
        print(jsonlib.dumps({"files": verdicts}, indent=2))
    elif verdicts:
        print(table(("NAME", "STATE", "PATH"), [(item["name"], item["state"], item["path"]) for item in verdicts]))
    else:
        print("no known file on this machine; see framegate models list")
    return 1 if any(item["state"] in ("wrong", "unreadable") for item in verdicts) else 0


def _state(weights: Weights, path: Path) -> str:
    if weights.sha256 is None:
        return "no reference"
    try:
        return "right" if sha256_of(path) == weights.sha256 else "wrong"
    except OSError:
        return "unreadable"


def _complain(line: str) -> int:
    print(line, file=sys.stderr)
    return 1
