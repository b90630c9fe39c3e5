"""Bad: tries to draw on the picture that all analyzers share."""

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    frame.scaled(160)[0, 0] = 255
    return None
