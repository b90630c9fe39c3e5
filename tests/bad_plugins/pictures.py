"""Bad: draws on the picture that all analyzers share."""

from gateway import Frame, as_analyzer


@as_analyzer()
def bad(frame: Frame) -> object:
    picture = frame.to_bgr()
    picture.setflags(write=True)
    picture[:1] = 0
    picture.setflags(write=False)
    return None
