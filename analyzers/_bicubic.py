"""Pictures as CLIP-type models were taught: the shorter side bicubic to the model's, the middle cut out, normalised.

The filter is the one those models were trained with (Catmull-Rom, a = -0.5, widened when it makes smaller, so that it
does not alias). OpenCV's INTER_CUBIC is another one: a = -0.75, never widened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from analyzers._letterbox import Pixels

    Matrix = npt.NDArray[np.float32]

SUPPORT = 2.0  # of the filter, in px of the smaller picture


@dataclass(frozen=True, slots=True)
class Lens:
    """How a model wants its pictures: `side` px square, less `mean`, by `std`, both of RGB in 0-1."""

    side: int = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # OpenAI's, kept by all who followed
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def tensor(self, picture: Pixels, *, whole: bool = False) -> Matrix:
        """(1, 3, side, side) of a BGR picture: its middle square, or `whole`, squeezed into one."""
        height, width = picture.shape[:2]
        if whole:
            rows, columns = _matrix(height, self.side, 0, self.side), _matrix(width, self.side, 0, self.side)
        else:
            rows, columns = (self._middle(size, min(height, width)) for size in (height, width))
        narrow = _levels(np.matmul(columns, picture.astype(np.float32)))
        square = _levels((rows @ narrow.reshape(height, -1)).reshape(self.side, self.side, 3))
        tensor: Matrix = ((square[..., ::-1] / 255 - self.mean) / self.std).transpose(2, 0, 1)[None].astype(np.float32)
        return tensor

    def _middle(self, size: int, shorter: int) -> Matrix:
        resized = max(self.side, int(self.side * size / shorter))
        return _matrix(size, resized, (resized - self.side) // 2, self.side)


def _levels(values: Matrix) -> Matrix:
    """Whole grey levels, as Pillow has them after each direction."""
    levels: Matrix = np.clip(np.rint(values), 0, 255)
    return levels


@lru_cache(64)
def _matrix(before: int, after: int, first: int, count: int) -> Matrix:
    """(count, before): what `before` px become of which the `first` and those behind it are wanted, of `after`."""
    scale = before / after
    reach = max(scale, 1.0)
    centres = (np.arange(first, first + count) + 0.5) * scale
    away = (np.arange(before)[None] + 0.5 - centres[:, None]) / reach
    weights = np.where(np.abs(away) < SUPPORT, _catmull_rom(np.abs(away)), 0.0)
    matrix: Matrix = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix


def _catmull_rom(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution with a = -0.5, for 0 <= x < 2."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, far)
