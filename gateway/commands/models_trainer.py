"""The program that trains or exports with Ultralytics (AGPL-3.0), in a process of its own.

Run as `python models_trainer.py TASK`: TASK is a JSON file, and the answer is written beside it as answer.json. It
imports nothing of Framegate and is imported for its path only, so that neither its libraries nor its licence reach the
gateway.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OPSET = 17


def main() -> None:
    place = Path(sys.argv[1])
    task = json.loads(place.read_text(encoding="utf-8"))
    answer = (_train if task["what"] == "train" else _open_vocabulary)(task)
    place.with_name("answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _train(task: dict[str, Any]) -> dict[str, Any]:
    """Fine-tune, measure on the validation pictures, export."""
    import ultralytics

    model = ultralytics.YOLO(task["weights"], task="detect")
    model.train(
        data=task["data"],
        epochs=task["epochs"],
        imgsz=task["size"],
        batch=task["batch"],
        device=task["device"],
        seed=task["seed"],
        workers=task["workers"],
        project=task["folder"],
        name="run",
        exist_ok=True,
        plots=False,
    )
    best = Path(task["folder"], "run", "weights", "best.pt")
    model = ultralytics.YOLO(str(best), task="detect")
    found = model.val(
        data=task["data"], imgsz=task["size"], batch=task["batch"], device=task["device"], workers=0, plots=False
    )
    exported = model.export(format="onnx", imgsz=task["size"], dynamic=True, simplify=False, opset=OPSET, device="cpu")
    return {
        "model": str(exported),
        "classes": [model.names[number] for number in sorted(model.names)],
        "metrics": _metrics(found.box),
        "confidence": _best_score(found.box),
        "versions": _versions(),
    }


def _metrics(box: Any) -> dict[str, float]:
    pairs = {"precision": box.mp, "recall": box.mr, "mAP50": box.map50, "mAP50-95": box.map}
    return {name: round(float(value), 4) for name, value in pairs.items()}


def _best_score(box: Any) -> float | None:
    """Where the mean F1 of the classes is highest; None if nothing was ever right."""
    curve = getattr(box, "f1_curve", None)
    if curve is None or len(curve) == 0:
        return None
    mean = curve.mean(axis=0)
    return round(float(box.px[mean.argmax()]), 3) if mean.max() > 0 else None


def _open_vocabulary(task: dict[str, Any]) -> dict[str, Any]:
    """Give an open-vocabulary model its prompts for good, and export it: what comes of it is an ordinary detector."""
    import ultralytics

    if "world" in Path(task["weights"]).name.lower():
        model = ultralytics.YOLOWorld(task["weights"])
        _prompt(model, task["prompts"])
    else:
        model = ultralytics.YOLOE(task["weights"])
        if task["embeddings"]:
            model.load_prompt_embeddings(task["embeddings"])  # they name their prompts, and the model they are for
        else:
            _prompt(model, task["prompts"])
    exported = model.export(format="onnx", imgsz=task["size"], dynamic=True, simplify=False, opset=OPSET, device="cpu")
    names = model.names.values() if isinstance(model.names, dict) else model.names
    return {"model": str(exported), "classes": list(names), "versions": _versions()}


def _prompt(model: Any, prompts: list[str]) -> None:
    """Turn words into the numbers the model compares with, which takes a text encoder of its own."""
    try:
        model.set_classes(prompts)
    except ImportError as error:
        raise SystemExit(
            f"{error}: prompts take Ultralytics' text encoder (its build of the package clip, and weights); on a "
            f"machine that has it YOLOE keeps them with save_prompt_embeddings(FILE.npz), for --embeddings FILE.npz"
        ) from None


def _versions() -> dict[str, str]:
    import torch
    import ultralytics

    return {"ultralytics": ultralytics.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    main()
