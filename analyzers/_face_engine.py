"""Face engines: detector, alignment and embedder behind one interface, chosen by the option `engine`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from analyzers._face_detect import FaceDetector, FoundFace
from analyzers._face_embed import FaceEmbedder, confidence, known, to_unit
from analyzers._weights import WeightsMissing, WrongWeights, find_weights

if TYPE_CHECKING:
    from pathlib import Path

    from analyzers._face_embed import Vectors
    from analyzers._letterbox import Pixels
    from gateway import Frame

YUNET = ("face_detection_yunet_2023mar.onnx",)
# Measured ones first. InsightFace's are never chosen by themselves: what they may be used for is for people to settle.
EMBEDDERS = ("mobilefacenet.onnx", "MobileFaceNet.onnx", "face_recognition_sface_2021dec.onnx")
ENGINES = ("onnx", "insightface")


class Engine(Protocol):
    """Finds and embeds faces; called by one thread at a time. `model` is the hash that its vectors are kept under.

    `parts` says for people what it is made of; `runtime` what it runs on; `threshold` the cosine of one person.
    """

    model: str
    parts: dict[str, str]
    runtime: str
    threshold: float

    def detect(self, frame: Frame, least: float) -> list[FoundFace]:
        """The faces of a frame, largest first; `least` is the score from which they count, 0: the detector's own."""

    def embed(self, crops: Sequence[Pixels]) -> Vectors:
        """A unit vector for each aligned face (112x112 BGR)."""


class OnnxEngine:
    """YuNet or SCRFD, and an ONNX embedder, run like every other model of this gateway."""

    def __init__(self, detector: Path, embedder: Path, *, side: int) -> None:
        self._detector = FaceDetector(detector, side=side)
        self._embedder = FaceEmbedder(embedder)
        self.model = self._embedder.model
        self.runtime = self._detector.runtime
        self.threshold = self._embedder.known.threshold
        self.parts = {
            "engine": "onnx",
            "detector": f"{self._detector.name} ({detector.name})",
            "embedder": embedder.name,
            "licence": known(embedder.name).licence,
        }

    def detect(self, frame: Frame, least: float) -> list[FoundFace]:
        return self._detector.detect(frame, least)

    def embed(self, crops: Sequence[Pixels]) -> Vectors:
        return self._embedder.embed(crops)


def find_parts(detector: str, model: str) -> tuple[Path, Path]:
    """The files of detector and embedder. Raises `WeightsMissing`, and `WrongWeights` for pickles."""
    return find_weights(detector, YUNET), find_weights(model, EMBEDDERS)


def lacks(detector: str, model: str) -> str | None:
    """What is missing of the two, with the remedy."""
    lines = []
    for option, value, preferred, name in (
        ("detector", detector, YUNET, "yunet"),
        ("model", model, EMBEDDERS, "mobilefacenet` or `framegate models pull sface"),
    ):
        try:
            find_weights(value, preferred)
        except WeightsMissing as error:
            lines.append(f"{error}; run `framegate models pull {name}`, or name an ONNX file in option {option}")
        except WrongWeights:
            pass  # a choice that cannot work is a failure, and said when the model is loaded
    return "; ".join(lines) or None


def embed_well(engine: Engine, crops: Sequence[Pixels]) -> Vectors:
    """As good as it gets, for twice the time: each face and its mirror image, as one vector.

    Of 30 pairs of one person, as they are, small, dark, blurred or compressed, the least alike are 0.01-0.04 more
    alike; strangers are not.
    """
    if not crops:
        return engine.embed([])
    vectors = engine.embed([*crops, *(np.ascontiguousarray(crop[:, ::-1]) for crop in crops)])
    return to_unit(vectors[: len(crops)] + vectors[len(crops) :])


def calibrated(engine: Engine, similarity: float) -> float:
    """A cosine of this engine's vectors as confidence 0-1."""
    return confidence(similarity, engine.threshold)
