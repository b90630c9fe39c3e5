"""PyTorch weights: exported to ONNX once, by a process that ends, and run as ONNX ever after.

A `.pt` file is a pickle, so the process runs its maker's code; `_weights` lets none come here unless the operator
allows it. This file is also the program of that process: `python _export.py WEIGHTS`, which writes beside the weights.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

log = logging.getLogger(__name__)

LIMIT_S = 280.0  # below the gateway's own limit for loading a model
QUIET = {
    "YOLO_AUTOINSTALL": "false",  # ultralytics would have pip install what it misses
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
}


def to_onnx(weights: Path) -> Path:
    """The file itself, or the export of PyTorch weights, made now if these bytes were never exported before.

    Raises `ValueError` for weights that cannot be exported, with the last line of what was said about it.
    """
    from analyzers._weights import PICKLE, own_folder

    if weights.suffix.lower() != PICKLE:
        return weights
    folder = own_folder() / "exported"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="export-", dir=folder) as place:
        copy = Path(place, "weights.pt")
        shutil.copyfile(weights, copy)  # what is hashed is what is exported
        ready = folder / f"{hashlib.sha256(copy.read_bytes()).hexdigest()}.onnx"
        if not ready.is_file():
            _export(weights.name, copy)
            os.replace(copy.with_suffix(".onnx"), ready)
    return ready


def _export(name: str, copy: Path) -> None:
    if missing := [module for module in ("ultralytics", "onnx") if find_spec(module) is None]:
        raise ValueError(f'{name}: exporting it takes {" and ".join(missing)}: pip install "framegate[yolo]"')
    log.warning("%s: opening a pickle, as runtime.allow_pickle says, and exporting it", name)
    environment = {**os.environ, **QUIET, "YOLO_CONFIG_DIR": str(copy.parent)}
    command = [sys.executable, "-P", __file__, str(copy)]
    try:
        done = subprocess.run(
            command, env=environment, cwd=copy.parent, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{name}: its export took more than {LIMIT_S:.0f} s and was ended") from None
    if done.returncode != 0 or not copy.with_suffix(".onnx").is_file():
        last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise ValueError(f"{name}: it could not be exported: {last or f'exit code {done.returncode}'}")


def main() -> None:
    """In the process of its own."""
    if sys.platform == "linux":  # not to outlive a worker that is ended for taking too long
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    from ultralytics import YOLO

    YOLO(sys.argv[1], task="detect").export(format="onnx", dynamic=True, simplify=False, opset=17)


if __name__ == "__main__":
    main()
