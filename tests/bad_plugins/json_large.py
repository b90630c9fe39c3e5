"""Bad: sends a picture's worth of numbers with each frame."""

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    return Result(data={"heat": [0.123456789] * 40_000})
