"""Bad: the mean of nothing."""

import numpy as np

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    with np.errstate(invalid="ignore"):
        return Result(measures={"size": float(np.float64(0) / np.float64(0))})
