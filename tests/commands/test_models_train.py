"""`framegate models train` and `export-open`: what is said before, what is run, what is installed with which card."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from gateway.commands import models_train, models_trainer
from gateway.commands.models_card import Card, install
from gateway.commands.models_train import KINDS, OpenExport, Training, export_open, train_model
from gateway.settings import Settings
from tests.analyzers import tiny_models

if TYPE_CHECKING:
    from collections.abc import Callable

CARD = Card(
    kind="smoking",
    file="",
    sha256="",
    bytes=0,
    date="2026-11-21T20:00:00+00:00",
    classes=("cigarette",),
    licence="AGPL-3.0",
    made_from={"file": "yolov8n.pt"},
    made_by={"torch": "2.13.0", "epochs": 3},
    dataset={"name": "smoke", "train": {"images": 3, "boxes": {"cigarette": 2}}},
    metrics={"mAP50": 0.5},
    confidence=0.31,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", models_dir=str(tmp_path / "given"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Twelve pictures of a white bar on noise, four of them to validate with, and two pictures of noise alone."""
    root, noise = tmp_path / "bars", np.random.default_rng(0)
    for number in range(14):
        part = "val" if number % 3 == 0 else "train"
        for folder in ("images", "labels"):
            (root / part / folder).mkdir(parents=True, exist_ok=True)
        drawn = noise.integers(0, 100, (64, 64, 3), np.uint8)
        if number < 12:
            drawn[20:28, 4 * number : 4 * number + 16] = 255
            (root / part / "labels" / f"{number}.txt").write_text(f"0 {(4 * number + 8) / 64} 0.375 0.25 0.125\n")
        assert cv2.imwrite(str(root / part / "images" / f"{number}.png"), drawn)
    (root / "data.yaml").write_text("train: train/images\nval: val/images\nnames: [cigarette]\n")
    return root


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the one that needs Ultralytics; the rest is as it is."""

    def put(text: str) -> None:
        file = tmp_path / "program.py"
        file.write_text("import json, os, sys\nfrom pathlib import Path\nplace = Path(sys.argv[1])\n" + text)
        monkeypatch.setattr(models_trainer, "__file__", str(file))
        monkeypatch.setattr(models_train, "_needs_extra", lambda: None)

    return put


ANSWER = """
task = json.loads(place.read_text())
print("epoch 1 of", task.get("epochs"), os.environ["YOLO_OFFLINE"])
model = place.with_name("best.onnx")
model.write_bytes(Path(task["weights"]).read_bytes())
answer = {"model": str(model), "classes": ["cigarette"], "metrics": {"mAP50": 0.5}, "confidence": 0.31,
          "versions": {"ultralytics": "8"}}
place.with_name("answer.json").write_text(json.dumps(answer))
"""


def test_weights_come_with_their_card_for_programs_and_people(tmp_path: Path) -> None:
    model = tmp_path / "best.onnx"
    model.write_bytes(b"weights")
    target = tmp_path / "home" / "models" / "smoking_own.onnx"
    card = install(model, target, CARD)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert card == replace(CARD, file="smoking_own.onnx", sha256=digest, bytes=7)
    assert target.read_bytes() == b"weights"
    written = json.loads(target.with_suffix(".json").read_text())
    assert (written["sha256"], written["confidence"], written["classes"]) == (digest, 0.31, ["cigarette"])
    assert "| data set, train | images 3, boxes cigarette 2 |" in target.with_suffix(".md").read_text()
    assert sorted(path.name for path in target.parent.iterdir()) == [
        f"smoking_own.{end}" for end in ("json", "md", "onnx")
    ]


def test_what_was_trained_is_where_the_analyzer_looks_first(
    settings: Settings,
    dataset: Path,
    program: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from analyzers.smoking import SmokingAnalyzer, SmokingOptions, threshold

    program(ANSWER)
    base = tiny_models.raw(tmp_path / "base.onnx", names="{0: 'cigarette', 1: 'a', 2: 'b'}")
    assert train_model(settings, Training("smoking", dataset, str(base), epochs=7)) == 0
    out = capsys.readouterr().out
    assert out.index("train: 9 pictures, 1 of them without boxes; 8 cigarette") < out.index("AGPL-3.0")
    assert out.index("AGPL-3.0") < out.index("epoch 1 of 7 true") < out.index("installed")
    installed = settings.home / "models" / KINDS["smoking"]
    assert threshold(0.5, installed) == 0.31
    assert SmokingAnalyzer(SmokingOptions(model=str(installed)))
    card = json.loads(installed.with_suffix(".json").read_text())
    assert card["made_from"] == {"file": "base.onnx", "sha256": hashlib.sha256(base.read_bytes()).hexdigest()}
    assert card["made_by"] == {"ultralytics": "8", "epochs": 7, "size": 416, "batch": 16, "device": "cpu", "seed": 0}


def test_a_training_that_fails_changes_nothing_and_says_its_last_line(
    settings: Settings,
    dataset: Path,
    program: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program("print('begin')\nsys.exit('CUDA out of memory')")
    base = tiny_models.raw(tmp_path / "base.onnx")
    assert train_model(settings, Training("smoking", dataset, str(base))) == 1
    said = capsys.readouterr().err
    assert said.startswith("models train: CUDA out of memory; all it said: ")
    assert Path(said.strip().rpartition(": ")[2]).read_text() == "begin\nCUDA out of memory\n"
    assert not (settings.home / "models").exists()


def test_a_bad_data_set_is_refused_before_anything_is_run(
    settings: Settings, dataset: Path, program: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program("sys.exit('was run')")
    (dataset / "train/labels/1.txt").write_text("0 9 9 9 9\n")
    assert train_model(settings, Training("smoking", dataset)) == 1
    assert "1.txt:1: a box is 0-1 of the picture, not px" in capsys.readouterr().err
    assert not (settings.home / "training").exists()


def test_a_data_set_can_be_checked_alone(settings: Settings, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_model(settings, Training("smoking", dataset, check=True)) == 0
    assert "val: 5 pictures, 1 of them without boxes; 4 cigarette" in capsys.readouterr().out
    assert not settings.home.exists()


def test_weights_that_are_nowhere_are_not_downloaded_unasked(
    settings: Settings, dataset: Path, program: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    program("sys.exit('was run')")
    assert train_model(settings, Training("smoking", dataset)) == 1
    assert "there is no yolov8n.pt: name weights with --weights" in capsys.readouterr().err
    assert train_model(settings, Training("smoking", dataset, download=True)) == 1
    assert "was run" in capsys.readouterr().err


def test_an_unknown_kind_is_refused(settings: Settings, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_model(settings, Training("smokin", dataset)) == 1
    assert capsys.readouterr().err == "models train: there is no kind smokin; there are smoking, objects\n"


def test_without_the_extra_it_says_how_to_get_it(
    settings: Settings, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models_train, "find_spec", lambda name: None if name == "torchvision" else object())
    assert train_model(settings, Training("smoking", dataset)) == 1
    assert 'torchvision missing: pip install "framegate[yolo]" (AGPL-3.0)' in capsys.readouterr().err


def test_an_open_vocabulary_model_is_exported_with_its_prompts(
    settings: Settings, program: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(
        ANSWER.replace('["cigarette"]', 'task["prompts"]').replace('"metrics": {"mAP50": 0.5}, "confidence": 0.31,', "")
    )
    base = tiny_models.raw(tmp_path / "yoloe.onnx")
    assert export_open(settings, OpenExport("smoking", base, ("cigarette", "person smoking"))) == 0
    card = json.loads((settings.home / "models" / "smoking_own.json").read_text())
    assert (card["classes"], card["metrics"], card["confidence"]) == (["cigarette", "person smoking"], {}, None)
    assert export_open(settings, OpenExport("smoking", base, ())) == 1
    assert "--prompts lists what it shall find" in capsys.readouterr().err
    assert export_open(settings, OpenExport("smoking", tmp_path / "none.pt", ("a",))) == 1
    assert f"there is no file {tmp_path}/none.pt" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("torch", "torchvision", "ultralytics")),
    reason="the extra yolo is not here",
)
def test_one_epoch_for_real(settings: Settings, dataset: Path) -> None:
    """From nothing, so that no weights are needed: what comes of it sees nothing, but loads and runs."""
    from analyzers.smoking import SmokingAnalyzer, SmokingOptions

    wish = Training("smoking", dataset, "yolov8n.yaml", epochs=1, size=64, batch=4)
    assert train_model(settings, wish) == 0
    analyzer = SmokingAnalyzer(SmokingOptions(model=str(settings.home / "models" / "smoking_own.onnx")))
    assert analyzer.device
    assert "ultralytics" not in sys.modules
