"""Where an analyzer's weights are. Nothing is ever downloaded here; an operator pulls weights or puts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

MODELS_DIR = "FRAMEGATE_MODELS_DIR"


class WeightsMissing(FileNotFoundError):
    """No usable file was found; the message says what was looked for and where."""


class WrongWeights(ValueError):
    """There is a file, but not one that can run here; the message says how to make one that can."""


def find_weights(model: str, preferred: Sequence[str], *, variables: Sequence[str] = ()) -> Path:
    """The ONNX file to load: `model` (path or file name), else the first of `variables` (environment) that is set,
    else the first of `preferred` file names found in the folders.

    Raises `WeightsMissing`, and `WrongWeights` for a `.pt` file.
    """
    named = [("option model", model), *((variable, os.environ.get(variable, "")) for variable in variables)]
    for origin, value in named:
        if value:
            return _given(origin, value)
    for folder in model_folders():
        if found := _search(folder, preferred):
            return found
    raise WeightsMissing(f"none of {', '.join(preferred)} in {MODELS_DIR} or $FRAMEGATE_HOME/models")


def model_folders() -> Iterator[Path]:
    """The folders searched, best first: those of FRAMEGATE_MODELS_DIR, then the one `framegate models` fills."""
    from platformdirs import user_data_dir

    for folder in os.environ.get(MODELS_DIR, "").split(os.pathsep):
        if folder:
            yield Path(folder)
    yield Path(os.environ.get("FRAMEGATE_HOME") or user_data_dir("framegate", appauthor=False)) / "models"


def _given(origin: str, value: str) -> Path:
    """What somebody asked for by path, or by a file name to be searched."""
    path = Path(value).expanduser()
    if path.suffix == ".pt":
        raise WrongWeights(
            f"{origin}: {value} holds PyTorch weights, and only ONNX runs here; "
            f"run `yolo export model={value} format=onnx` and name the .onnx file instead"
        )
    if path.is_file():
        return path
    folders = model_folders() if path.name == value else ()
    if found := next((found for folder in folders if (found := _search(folder, [value]))), None):
        return found
    raise WeightsMissing(f"{origin}: there is no file {value}")


def _search(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of `names` anywhere below `folder`; of two files of one name, the one whose path sorts first."""
    files: dict[str, Path] = {}
    for place, folders, found in os.walk(folder):
        folders.sort()
        for name in found:
            files.setdefault(name, Path(place, name))
    return next((files[name] for name in names if name in files), None)
