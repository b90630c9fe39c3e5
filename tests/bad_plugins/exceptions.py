"""Bad: cannot bear the dark."""

from gateway import Frame, Result, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    mean = int(frame.scaled(64).mean())
    return Result(measures={"contrast": 100 // mean})
