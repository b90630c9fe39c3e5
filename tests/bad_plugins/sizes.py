"""Bad: a picture is at least 64 px wide, surely."""

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    step = frame.width // 64
    return Result(measures={"columns": frame.width // step})
