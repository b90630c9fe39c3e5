"""`framegate models train` and `export-open`: detectors made here, for analyzers without public weights.

Both run Ultralytics (extra `yolo`, AGPL-3.0) in a process of its own, and leave an ONNX file with its card where the
analyzer of that kind looks for it.
"""

from __future__ import annotations

import json as jsonlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.commands import models_trainer
from gateway.commands.models_card import Card, install
from gateway.commands.models_dataset import BadDataset, Dataset, read_dataset
from gateway.weights import MODELS, find, folders, sha256_of

if TYPE_CHECKING:
    from gateway.settings import Settings

KINDS = {"smoking": "smoking_own.onnx", "objects": "objects_own.onnx"}  # the names these analyzers search first
BASE = "yolov8n.pt"
LICENCE = "AGPL-3.0 (made with Ultralytics' code and weights); the rights in the pictures are yours to settle"
NOTICE = (
    "This runs Ultralytics YOLO, which is licensed under AGPL-3.0 or an Enterprise licence, and so is what it makes:\n"
    "https://ultralytics.com/license. Its weights are pickles: opening one runs its maker's code, as you."
)
QUIET = {"YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "true"}  # it would have pip install what it misses


@dataclass(frozen=True, slots=True)
class Training:
    """What is wanted. `weights` is a path, or a file name searched where models lie; a .yaml begins from nothing."""

    kind: str
    dataset: Path
    weights: str = BASE
    epochs: int = 50
    size: int = 416
    batch: int = 16
    device: str = "cpu"
    seed: int = 0
    download: bool = False
    check: bool = False


@dataclass(frozen=True, slots=True)
class OpenExport:
    """An open-vocabulary model and its prompts. `embeddings`: an .npz of YOLOE's `save_prompt_embeddings`, or None."""

    kind: str
    weights: Path
    prompts: tuple[str, ...]
    embeddings: Path | None = None
    size: int = 640
    download: bool = False


class CannotTrain(Exception):
    """Something lacks, or went wrong; one line for the user."""


def train_model(settings: Settings, wish: Training) -> int:
    """The exit code: 0 when the new weights are installed (or the data set is right, where only that was asked)."""
    try:
        target = _target(settings, wish.kind)
        dataset = read_dataset(wish.dataset)
        _tell(dataset)
        if wish.check:
            return 0
        _needs_extra()
        weights = _base(settings, wish)
        print(f"\n{NOTICE}\n", flush=True)
        folder = _folder(settings, wish.kind)
        (folder / "data.yaml").write_text(dataset.to_yaml(), encoding="utf-8")
        answer = _run(folder, _training_task(wish, folder / "data.yaml", weights), download=wish.download)
        card = _card(wish.kind, answer, weights, {**answer["versions"], **_figures(wish)}, dataset)
        card = install(Path(answer["model"]), target, card)
    except (BadDataset, CannotTrain, OSError) as error:
        print(f"models train: {error}", file=sys.stderr)
        return 1
    _installed(card, target)
    return 0


def export_open(settings: Settings, wish: OpenExport) -> int:
    """The exit code: 0 when the export is installed."""
    try:
        target = _target(settings, wish.kind)
        if not wish.weights.is_file():
            raise CannotTrain(f"there is no file {wish.weights}")  # noqa: TRY301
        if not wish.prompts and wish.embeddings is None:
            raise CannotTrain("--prompts lists what it shall find, such as --prompts cigarette,smoking")  # noqa: TRY301
        _needs_extra()
        print(f"{NOTICE}\n", flush=True)
        answer = _run(_folder(settings, wish.kind), _open_task(wish), download=wish.download)
        card = _card(wish.kind, answer, wish.weights, {**answer["versions"], "size": wish.size}, None)
        card = install(Path(answer["model"]), target, card)
    except (CannotTrain, OSError) as error:
        print(f"models export-open: {error}", file=sys.stderr)
        return 1
    _installed(card, target)
    return 0


# --- before ----------------------------------------------------------------------------------------------------------


def _target(settings: Settings, kind: str) -> Path:
    if kind not in KINDS:
        raise CannotTrain(f"there is no kind {kind}; there are {', '.join(KINDS)}")
    return settings.home / MODELS / KINDS[kind]


def _tell(dataset: Dataset) -> None:
    print(f"{dataset.file}: classes {', '.join(dataset.names)}")
    for name, part in dataset.parts.items():
        boxes = ", ".join(f"{part.boxes[label]} {label}" for label in dataset.names)
        print(f"{name}: {part.images} pictures, {part.empty} of them without boxes; {boxes}")
    for warning in dataset.warnings:
        print(f"warning: {warning}")


def _needs_extra() -> None:
    if missing := [module for module in ("torch", "torchvision", "ultralytics", "onnx") if find_spec(module) is None]:
        raise CannotTrain(
            f'{" and ".join(missing)} missing: pip install "framegate[yolo]" (AGPL-3.0); without a GPU install the CPU '
            f"builds of torch and torchvision first, both from PyTorch's own index, or they do not fit each other"
        )


def _base(settings: Settings, wish: Training) -> Path:
    """The weights to begin with. Raises `CannotTrain` if they are nowhere and nobody allowed to download them."""
    path = Path(wish.weights).expanduser()
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    found = find(path.name, folders(settings.home, settings.models_dir)) if path.name == wish.weights else []
    if found:
        return found[0]
    if wish.download:
        return path
    raise CannotTrain(
        f"there is no {wish.weights}: name weights with --weights, let Ultralytics fetch them with --download, or "
        f"begin from nothing with --weights yolov8n.yaml (which takes some thousand pictures)"
    )


def _folder(settings: Settings, kind: str) -> Path:
    """A new one; it is kept, with the PyTorch weights to go on from."""
    folder = settings.home / "training" / f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True)
    return folder


def _training_task(wish: Training, data: Path, weights: Path) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # 0 keeps loading in one process: with few cores more of them only take time from the training.
    workers = 0 if cores <= 2 else min(8, cores - 1)
    return {"what": "train", "weights": str(weights), "data": str(data), **_figures(wish), "workers": workers}


def _figures(wish: Training) -> dict[str, Any]:
    return {name: getattr(wish, name) for name in ("epochs", "size", "batch", "device", "seed")}


def _open_task(wish: OpenExport) -> dict[str, Any]:
    embeddings = str(wish.embeddings.resolve()) if wish.embeddings else None
    return {
        "what": "open",
        "weights": str(wish.weights),
        "prompts": list(wish.prompts),
        "embeddings": embeddings,
        "size": wish.size,
    }


# --- the run ---------------------------------------------------------------------------------------------------------


def _run(folder: Path, task: Mapping[str, Any], *, download: bool) -> dict[str, Any]:
    """Run the program in its folder, what it prints going through; its answer. Raises `CannotTrain`."""
    weights = Path(task["weights"])
    if weights.is_file():  # it writes beside what it exports
        (folder / weights.name).write_bytes(weights.read_bytes())
        weights = folder / weights.name
    place = folder / "task.json"
    place.write_text(jsonlib.dumps({**task, "weights": str(weights), "folder": str(folder)}), encoding="utf-8")
    environment = {**os.environ, **QUIET, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": str(not download).lower()}
    # Its own file, not its module: the gateway is not to be imported there.
    command = [sys.executable, "-P", str(Path(models_trainer.__file__)), str(place)]
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        code, last = _streamed(command, environment, folder, log.write)
    if code != 0 or not (folder / "answer.json").is_file():
        raise CannotTrain(f"{last or f'exit code {code}'}; all it said: {folder / 'log.txt'}")
    answer: dict[str, Any] = jsonlib.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return answer


def _streamed(command: list[str], environment: Mapping[str, str], folder: Path, keep: Any) -> tuple[int, str]:
    """Exit code and last line of a program whose lines are printed as they come, and kept."""
    last = ""
    with subprocess.Popen(
        command, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            keep(line)
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode, last


# --- after -----------------------------------------------------------------------------------------------------------


def _card(
    kind: str, answer: Mapping[str, Any], weights: Path, made_by: Mapping[str, Any], dataset: Dataset | None
) -> Card:
    made_from = {"file": weights.name, **({"sha256": sha256_of(weights)} if weights.is_file() else {})}
    return Card(
        kind=kind,
        file="",
        sha256="",
        bytes=0,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=tuple(answer["classes"]),
        licence=LICENCE,
        made_from=made_from,
        made_by=made_by,
        dataset=dataset.summary() if dataset else {},
        metrics=answer.get("metrics", {}),
        confidence=answer.get("confidence"),
    )


def _installed(card: Card, target: Path) -> None:
    if card.metrics:
        print("on the validation pictures: " + ", ".join(f"{name} {value:.3f}" for name, value in card.metrics.items()))
    print(f"installed {target} ({card.bytes} bytes, SHA-256 {card.sha256}), with its card beside it")
    print("analyzers take it when the gateway is started anew; to take it and no other, whatever else lies about:")
    print(f'  [analyzers.{card.kind}]\n  model = "{target}"')
