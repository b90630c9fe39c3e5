"""Aligns faces: turned, scaled and moved so that eyes, nose and mouth lie where embedding networks expect them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from gateway import GatewayError

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzers._letterbox import Pixels

    Points = npt.NDArray[np.float64]  # (5, 2) px: eye, eye, nose, mouth corner, mouth corner, from the viewer's left

SIDE = 112
# The template of ArcFace (Deng et al. 2019, arXiv 1801.07698), for which SFace, MobileFaceNet and most others are made.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def align(picture: Pixels, points: Points) -> Pixels:
    """The face at these points of a BGR picture, as 112x112. What lies outside the picture is black.

    A face that is larger is drawn larger and averaged down, or linear sampling would skip most of its pixels.
    """
    transform = similarity(points, TEMPLATE)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    times = int(np.clip(round(1 / max(scale, 1e-6)), 1, 8))
    drawn = cv2.warpAffine(picture, transform * times, (SIDE * times, SIDE * times), flags=cv2.INTER_LINEAR)
    if times > 1:
        drawn = cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return drawn  # type: ignore[return-value]


def similarity(points: Points, onto: Points) -> npt.NDArray[np.float64]:
    """The turn, scale and shift (2, 3) that bring points nearest to others, by least squares and without mirroring.

    Umeyama 1991, IEEE PAMI 13(4), equations 40-42.
    """
    centre, target = points.mean(axis=0), onto.mean(axis=0)
    spread, wanted = points - centre, onto - target
    u, sizes, v = np.linalg.svd(wanted.T @ spread / len(points))
    signs = np.array([1.0, 1.0 if np.linalg.det(u) * np.linalg.det(v) > 0 else -1.0])
    turn = (u * signs) @ v
    scale = float(sizes @ signs) / max(float(spread.var(axis=0).sum()), 1e-12)
    return np.hstack([scale * turn, (target - scale * turn @ centre)[:, None]])


def to_png(crop: Pixels) -> bytes:
    """An aligned face as it is kept: without loss, 20-30 kB."""
    return cv2.imencode(".png", crop)[1].tobytes()


def from_png(data: bytes) -> Pixels:
    """Raises `GatewayError` for what is no aligned face."""
    crop: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if crop is None or crop.shape != (SIDE, SIDE, 3):
        raise GatewayError("the aligned face that was kept is not a picture of 112x112 px", code="undecodable")
    kept: Pixels = crop
    return kept
