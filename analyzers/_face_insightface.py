"""The engine `insightface`: model packs through the `insightface` package, an extra that nothing else imports.

The package is MIT; the packs its authors publish are for non-commercial research only. It downloads packs by itself
when asked for one by name: it is only ever given folders here, so nothing is fetched without anybody's consent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzers._devices import DEVICE
from analyzers._face_detect import FoundFace
from analyzers._face_embed import known, sha256_of, to_unit
from analyzers._weights import model_folders
from gateway import Box, Frame

if TYPE_CHECKING:
    from analyzers._face_embed import Vectors
    from analyzers._letterbox import Pixels

PACKS = ("buffalo_l", "buffalo_s", "buffalo_sc", "buffalo_m", "antelopev2", "facepack")
LICENCE = "the packs InsightFace publishes are for NON-COMMERCIAL RESEARCH ONLY; a licence for more is theirs to give"
LEAST = 0.5  # score of a face, the package's own
_CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def find_pack(pack: str) -> Path | None:
    """The folder of a pack, by path or by name below the model folders; if none is named, the first known one there."""
    if pack and Path(pack).expanduser().is_dir():
        return Path(pack).expanduser()
    for name in [pack] if pack else PACKS:
        for place in model_folders():
            for folder, below, files in os.walk(place):
                below.sort()
                if Path(folder).name == name and any(file.endswith(".onnx") for file in files):
                    return Path(folder)
    return None


def lacks(pack: str) -> str | None:
    """What is missing for this engine, with the remedy and the licence."""
    if find_spec("insightface") is None:
        return f'engine insightface needs the package: pip install "framegate[insightface]"; note: {LICENCE}'
    if find_pack(pack) is None:
        return (
            f"there is no folder {pack or ' or '.join(PACKS)} with ONNX files below FRAMEGATE_MODELS_DIR or "
            f"$FRAMEGATE_HOME/models: unpack a pack there; note: {LICENCE}"
        )
    return None


class InsightFaceEngine:
    """A pack's detector and embedder. Raises `ValueError` for a folder that holds not both."""

    def __init__(self, folder: Path, *, side: int) -> None:
        from insightface.app import FaceAnalysis

        providers = _CUDA if os.environ.get(DEVICE) == "cuda" else ["CPUExecutionProvider"]
        try:
            pack = FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"], providers=providers)
        except AssertionError:
            raise ValueError(f"{folder}: no face detector in this pack") from None
        pack.prepare(ctx_id=0 if providers is _CUDA else -1, det_thresh=LEAST, det_size=(side, side))
        if "recognition" not in pack.models:
            raise ValueError(f"{folder}: no face embedder in this pack")
        self._detector: Any = pack.det_model
        self._embedder: Any = pack.models["recognition"]
        file = Path(self._embedder.model_file)
        self.model = f"{sha256_of(file)}-insightface"  # it feeds its networks in its own way: other vectors
        self.runtime = f"insightface {', '.join(self._embedder.session.get_providers())}"
        self.threshold = known(file.name).threshold
        self.parts = {
            "engine": "insightface",
            "detector": f"SCRFD ({Path(self._detector.model_file).name})",
            "embedder": file.name,
            "licence": LICENCE,
        }

    def detect(self, frame: Frame, least: float) -> list[FoundFace]:
        boxes, points = self._detector.detect(frame.to_bgr(), max_num=0, metric="default")
        found = []
        for (x1, y1, x2, y2, score), marks in zip(boxes, points if points is not None else (), strict=True):
            box = Box.from_pixels(x1, y1, x2, y2, frame)
            if score >= (least or LEAST) and box.area > 0:
                found.append(FoundFace(box, np.asarray(marks, np.float64), min(1.0, float(score))))
        return sorted(found, key=lambda face: -face.box.area)

    def embed(self, crops: Sequence[Pixels]) -> Vectors:
        if not crops:
            return np.empty((0, 0), np.float32)
        return to_unit(np.stack([np.ravel(self._embedder.get_feat(crop)) for crop in crops]))
