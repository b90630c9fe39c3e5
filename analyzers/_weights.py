"""Where an analyzer's weights are. Nothing is ever downloaded here; an operator pulls weights or puts them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

MODELS_DIR = "FRAMEGATE_MODELS_DIR"
ALLOW_PICKLE = "FRAMEGATE_RUNTIME__ALLOW_PICKLE"
PICKLE = ".pt"


class WeightsMissing(FileNotFoundError):
    """No usable file was found; the message says what was looked for and where."""


class WrongWeights(ValueError):
    """There is a file, but not one that can run here; the message says how to make one that can."""


def find_weights(model: str, preferred: Sequence[str], *, variables: Sequence[str] = ()) -> Path:
    """The file to load: `model` (path or file name), else the first of `variables` (environment) that is set, else
    the first of `preferred` file names found in the folders. ONNX, or PyTorch's where the operator allows pickles.

    Raises `WeightsMissing`, and `WrongWeights` for PyTorch weights that are not allowed. Opens no file.
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
    for folder in os.environ.get(MODELS_DIR, "").split(os.pathsep):
        if folder:
            yield Path(folder)
    yield own_folder()


def own_folder() -> Path:
    """Where `framegate models pull` puts weights."""
    from platformdirs import user_data_dir

    return Path(os.environ.get("FRAMEGATE_HOME") or user_data_dir("framegate", appauthor=False)) / "models"


def _given(origin: str, value: str) -> Path:
    """What somebody asked for by path, or by a file name to be searched."""
    path = Path(value).expanduser()
    if path.suffix.lower() == PICKLE and os.environ.get(ALLOW_PICKLE) != "1":
        raise WrongWeights(
            f"{origin}: {value} is a pickle: opening it runs whatever code its maker put in, as this user. Name an "
            f"ONNX file (`yolo export model={value} format=onnx dynamic=True`) or set runtime.allow_pickle "
            f"({ALLOW_PICKLE}=1)"
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
