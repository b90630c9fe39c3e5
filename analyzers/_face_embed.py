"""Face embedders in ONNX: from aligned faces to vectors of unit length, and what is known of each network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzers._face_align import SIDE
from analyzers._onnx import open_network
from analyzers._onnx_header import read_header

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzers._letterbox import Pixels

    Vectors = npt.NDArray[np.float32]  # (n, d), of unit length

WIDTH = 0.06  # of the step from "somebody else" to "the same" in cosines; about the spread of strangers' likeness


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a network: how it is fed (RGB, less `mean`, by `scale`, per channel), and its threshold.

    `threshold` is the cosine from which two faces are one person's.
    """

    threshold: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    licence: str


_ARC = ((127.5,) * 3, (127.5,) * 3)
_RAW = ((0.0,) * 3, (1.0,) * 3)
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_RESEARCH = "non-commercial research only (InsightFace)"

# MobileFaceNet: measured, 0.45 lies between the most alike strangers of 508 pairs (0.39) and the least alike pictures
# of one person of 68 pairs (0.48); fed with ImageNet's mean and deviation, as its author trained it, it stands dark
# pictures better than with 127.5 (0.70 against 0.58 for a singer at 40 % of the light). SFace: the threshold that
# OpenCV publishes with it, not measured here. InsightFace's: of unknown origin, 0.4 is what their own tools use.
KNOWN = {
    "mobilefacenet.onnx": Known(0.45, *_IMAGENET, "Apache-2.0"),
    "face_recognition_sface_2021dec.onnx": Known(0.363, *_RAW, "Apache-2.0"),
    "face_recognition_sface_2021dec_int8.onnx": Known(0.363, *_RAW, "Apache-2.0"),
    "w600k_mbf.onnx": Known(0.4, *_ARC, _RESEARCH),
    "w600k_r50.onnx": Known(0.4, *_ARC, _RESEARCH),
}
OTHER = Known(0.45, *_ARC, "not known: as its maker says")


def known(file: str) -> Known:
    """By file name; anything else is fed as ArcFace is."""
    return KNOWN.get(file.lower(), OTHER)


def confidence(similarity: float, threshold: float) -> float:
    """A cosine as 0-1: 0.5 at the network's own threshold, 0.88 two `WIDTH` above it, 0.12 two below."""
    return 1 / (1 + math.exp(min(60.0, max(-60.0, (threshold - similarity) / WIDTH))))


class FaceEmbedder:
    """A loaded network. Raises `ValueError` for a file that is none, and what opening the network raises."""

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        if len(header.shape) != 4 or any(a != b for a, b in zip(header.shape[1:], (3, SIDE, SIDE), strict=True) if a):
            raise ValueError(f"{path.name}: a face embedder's input is [n, 3, 112, 112], got {list(header.shape)}")
        self._most = header.shape[0]
        self.known = known(path.name)
        self._network = open_network(path, [(1, 3, SIDE, SIDE)])
        self.model = sha256_of(path)
        self.dimensions = self._probe(path)

    def embed(self, crops: Sequence[Pixels]) -> Vectors:
        """One vector (d,) an aligned face, BGR 112x112."""
        fed = [self._fed(crop) for crop in crops]
        step = self._most or len(fed) or 1
        turns = [self._run(np.stack(fed[start : start + step])) for start in range(0, len(fed), step)]
        return np.concatenate(turns) if turns else np.empty((0, self.dimensions), np.float32)

    def _probe(self, path: Path) -> int:
        output = self._network.run(np.zeros((self._most or 1, 3, SIDE, SIDE), np.float32))
        if output.ndim != 2 or not 16 <= output.shape[1] <= 4096:
            raise ValueError(f"{path.name} is no face embedder: it gives {output.shape} for one face, not (1, d)")
        return int(output.shape[1])

    def _fed(self, crop: Pixels) -> Any:
        mean, scale = (np.array(part, np.float32)[:, None, None] for part in (self.known.mean, self.known.scale))
        return (crop[:, :, ::-1].transpose(2, 0, 1) - mean) / scale

    def _run(self, tensor: Any) -> Vectors:
        count = len(tensor)
        if self._most and count < self._most:
            tensor = np.concatenate([tensor, np.repeat(tensor[-1:], self._most - count, axis=0)])
        vectors = self._network.run(np.ascontiguousarray(tensor, np.float32))[:count]
        return to_unit(vectors)


def to_unit(vectors: Any) -> Vectors:
    """Rows divided by their lengths. Raises `ValueError` for one that has none, or is no number."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("the network gave a vector without a length: these weights are broken")
    made: Vectors = (vectors / lengths).astype(np.float32)
    return made


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
